"""Second step of the pipeline: pages become passages small enough to embed.

Sections first: a passage never holds text of two, except for a heading that has no text of its own and
goes with the next. Within a section the cut is made where it hurts least: at the end of a paragraph, item or
table, else of a sentence, a line, a word, and at last of a character as readers see it.
"""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from casona.library.document import Block, Document, Page
from casona.library.sentences import first_sentence_end, last_sentence_end

Heading = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """page.text[start:end] == text on the page of that number. `heading` is the path to it, widest first."""

    page: int
    start: int
    end: int
    text: str
    heading: tuple[str, ...] = ()


@dataclass(slots=True)
class _Section:
    """page.text[start:end]; `has_body` tells whether there is more in it than headings."""

    start: int
    end: int
    heading: tuple[str, ...]
    blocks: list[Block]
    has_body: bool = False


def split(document: Document, *, size: int, overlap: int) -> Iterator[Passage]:
    """Cut a document into passages of at most `size` characters, in order.

    Neighbours in one section share up to `overlap` characters (half of `size` at most), beginning with a
    sentence where one begins there. Together the passages hold every character of the pages that is not
    white space, and none is empty. Characters are code points.

    Raises ValueError unless 0 <= overlap < size.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"need 0 <= overlap < size, got {overlap=} {size=}")
    path: list[Heading] = []
    for page in document.pages:
        for section in _sections(page, path):
            cutter = _Cutter(page.text, section, size, min(overlap, size // 2))
            for start, end in cutter.spans():
                text = page.text[start:end]
                yield Passage(page=page.number, start=start, end=end, text=text, heading=section.heading)


def _sections(page: Page, path: list[Heading]) -> Iterator[_Section]:
    """The page's sections; `path` is the headings in force, and is kept up from page to page."""
    section = _Section(0, 0, _titles(path), [])
    for block in page.blocks:
        if block.kind == "heading":
            is_preamble = not section.blocks and bool(page.text[section.start : block.start].strip())
            if section.has_body or is_preamble:
                section.end = block.start
                yield section
                section = _Section(block.start, block.start, (), [])
            while path and path[-1][0] >= block.level:
                path.pop()
            path.append((block.level, block.title))
            section.heading = _titles(path)
        else:
            section.has_body = True
        section.blocks.append(block)
    section.end = len(page.text)
    yield section


def _titles(path: list[Heading]) -> tuple[str, ...]:
    return tuple(title for _, title in path)


class _Cutter:
    """Cuts one section."""

    def __init__(self, text: str, section: _Section, size: int, shared: int) -> None:
        self._text = text
        self._section = section
        self._size = size
        self._shared = shared
        self._blocks = section.blocks
        self._starts = [block.start for block in self._blocks]
        self._ends = [block.end for block in self._blocks]

    def spans(self) -> Iterator[tuple[int, int]]:
        """(start, end) of each passage, without white space around it."""
        text, last = self._text, self._section.end
        start = self._past_space(self._section.start)
        while start < last:
            if start + self._size >= last or not text[start + self._size : last].strip():
                cut = min(last, start + self._size)
            else:
                cut = self._cut(start, start + self._size)
            end = cut
            while text[end - 1].isspace():
                end -= 1
            yield start, end
            rest = self._past_space(cut)
            start = rest if rest >= last else self._next_start(start, end, rest)

    def _past_space(self, position: int) -> int:
        text, last = self._text, self._section.end
        while position < last and text[position].isspace():
            position += 1
        return position

    def _cut(self, start: int, limit: int) -> int:
        """Where a passage from `start` ends, at `limit` at the latest."""
        low = start + self._size // 2
        inside = self._block_at(limit)
        is_grid = inside is not None and inside.kind in ("table", "code")
        if inside and is_grid and start < inside.start and inside.end - inside.start <= self._size:
            return inside.start
        found = bisect_right(self._ends, limit) - 1
        if found >= 0 and self._ends[found] > low:
            return self._ends[found]
        line = self._text.rfind("\n", low, limit)
        if is_grid and line > low:
            return line
        sentence = last_sentence_end(self._text, low, limit)
        if sentence > low:
            return sentence
        space = max(line, self._text.rfind(" ", low, limit + 1))
        return space if space > low else _whole_character(self._text, limit, low)

    def _next_start(self, start: int, end: int, rest: int) -> int:
        """Where the next passage starts: in the last `shared` characters before `end`, or at `rest`."""
        low = max(end - self._shared, start + 1)
        if low >= end or self._fits_only_alone(rest, low):
            return rest
        found = bisect_left(self._starts, low)
        if found < len(self._starts) and self._starts[found] < end:
            return self._past_space(self._starts[found])
        sentence = first_sentence_end(self._text, low, end)
        if low < sentence < end:
            return self._past_space(sentence)
        spaces = (self._text.find(mark, low - 1, end) for mark in "\n ")
        space = min((position for position in spaces if position >= 0), default=-1)
        if space >= 0:
            return self._past_space(space)
        whole = next((place for place in range(low, end) if not _goes_with_the_last(self._text, place)), rest)
        return self._past_space(whole)

    def _fits_only_alone(self, rest: int, low: int) -> bool:
        """Whether a table follows that would be cut if anything stood before it."""
        block = self._block_at(rest)
        return (
            block is not None
            and block.start == rest
            and block.kind in ("table", "code")
            and block.end - rest <= self._size < block.end - low
        )

    def _block_at(self, position: int) -> Block | None:
        found = bisect_right(self._starts, position) - 1
        return self._blocks[found] if found >= 0 and position < self._ends[found] else None


def _whole_character(text: str, position: int, low: int) -> int:
    """The last place in (low, position] that does not part what readers see as one character."""
    for place in range(position, low, -1):
        if not _goes_with_the_last(text, place):
            return place
    return position


def _goes_with_the_last(text: str, place: int) -> bool:
    """The rules of Unicode's annex 29 that a hard cut meets: marks, joiners, skin tones, flags."""
    character = text[place]
    if character < "\u0300":
        return False
    if character == "\u200d" or text[place - 1] == "\u200d" or "\U0001f3fb" <= character <= "\U0001f3ff":
        return True
    if _is_flag_half(character):
        halves = 0
        while halves < place and _is_flag_half(text[place - 1 - halves]) and halves < 64:
            halves += 1
        return halves % 2 == 1
    return unicodedata.category(character) in ("Mn", "Me", "Mc")


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
