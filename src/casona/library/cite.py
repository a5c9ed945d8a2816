"""Citations that hold: markers point at passages that exist, quotes at text that is really there."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from casona.library.hit import Hit

_MARKER = re.compile(r"( {0,4})\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
_MAYBE_MARKER = re.compile(r" {0,4}(?:\[[\d\s,;]{0,24})?\Z")
_NUMBER = re.compile(r"\d+")
_QUOTED = re.compile(r'"([^"\n]{12,1000})"|“([^”\n]{12,1000})”|«([^»\n]{12,1000})»')
_SAME = str.maketrans("“”„«»‘’‚`´–—−‐‑", "\"\"\"\"\"'''''-----")


def is_exact(hit: Hit, page_text: str) -> bool:
    """Whether the passage is still what stands on its page."""
    return page_text[hit.start : hit.end] == hit.content


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """`number` is the passage's [n] in the answer, from 1; [start, end) is the quote's place on its page."""

    number: int
    start: int
    end: int
    text: str


class Citations:
    """Reads an answer as it comes, in pieces cut anywhere, and passes it on without false markers.

    A marker is `[2]` or `[1, 3]` outside code; its numbers run from 1 to `passages`. Numbers beyond are
    taken out, and the marker with them when none is left. `cited` holds the true ones in order of first
    use, `invalid` the others.
    """

    def __init__(self, passages: int) -> None:
        self.cited: list[int] = []
        self.invalid: list[int] = []
        self._passages = passages
        self._held = ""
        self._in_code = False

    def feed(self, piece: str) -> str:
        """What can be passed on now; may be empty. What may be the start of a marker is held back."""
        text = self._held + piece
        found = _MAYBE_MARKER.search(text)
        cut = found.start() if found else len(text)
        self._held = text[cut:]
        return self._checked(text[:cut])

    def finish(self) -> str:
        """What was held back. Ends the answer."""
        text, self._held = self._held, ""
        return self._checked(text)

    def _checked(self, text: str) -> str:
        """The text with its markers checked; backticks switch between prose and code."""
        prose_and_code = text.split("`")
        for index, part in enumerate(prose_and_code):
            if not self._in_code:
                prose_and_code[index] = _MARKER.sub(self._valid, part)
            if index < len(prose_and_code) - 1:
                self._in_code = not self._in_code
        return "`".join(prose_and_code)

    def _valid(self, marker: re.Match[str]) -> str:
        kept: list[int] = []
        for number in map(int, _NUMBER.findall(marker[2])):
            target = kept if 1 <= number <= self._passages else self.invalid
            if number not in target:
                target.append(number)
        self.cited += [number for number in kept if number not in self.cited]
        return f"{marker[1]}[{', '.join(map(str, kept))}]" if kept else ""


def check_quotes(answer: str, hits: Sequence[Hit]) -> tuple[list[Quote], list[str]]:
    """The quotes of an answer that stand in a passage, each with its place, and those that stand in none."""
    true: list[Quote] = []
    false: list[str] = []
    for match in _QUOTED.finditer(answer):
        said = next(filter(None, match.groups()))
        found = next(_places(said, hits), None)
        if found is None:
            false.append(said)
        else:
            true.append(found)
    return true, false


def _places(said: str, hits: Sequence[Hit]) -> Iterator[Quote]:
    for number, hit in enumerate(hits, 1):
        if place := find_quote(said, hit.content):
            start, end = place
            yield Quote(
                number=number, start=hit.start + start, end=hit.start + end, text=hit.content[start:end]
            )


def find_quote(said: str, text: str) -> tuple[int, int] | None:
    """Where a quote stands in a text, as (start, end), or None.

    White space, case, and the shapes of quotation marks and dashes may differ, as models change them; so
    may a full stop or ellipsis at the quote's ends.
    """
    wanted = "".join(folded for folded, _ in _folded(said)).strip(" .,;:…")
    if not wanted:
        return None
    pairs = list(_folded(text))
    position = "".join(folded for folded, _ in pairs).find(wanted)
    if position < 0:
        return None
    return pairs[position][1], pairs[position + len(wanted) - 1][1] + 1


def _folded(text: str) -> Iterable[tuple[str, int]]:
    """The text's characters made comparable, one at a time, each with the place it comes from."""
    after_space = True
    for place, character in enumerate(text):
        if character.isspace():
            if not after_space:
                yield " ", place
            after_space = True
            continue
        after_space = False
        for each in character.translate(_SAME).casefold():
            yield each, place
