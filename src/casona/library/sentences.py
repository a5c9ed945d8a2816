"""Where sentences end, near enough to quote them whole."""

import re
from collections.abc import Iterator

_END = re.compile(
    r"""[.!?…]+["'”’»)\]]*
        (?=\s+["'“‘«(\[¿¡—–-]*[^\W_a-zß-öø-ÿ] | \s*\Z)   # then white space, and no lower-case letter
    | [。！？]+[”’」』）]*""",
    re.X,
)
_ABBREVIATED = """
mr mrs ms dr prof sr sra srta dra d dña ud uds st p cf vs etc al ca e.g i.e eg ie ej p.ej inc ltd co corp
s.a ee uu ee.uu u.s ed eds approx dept gen col capt lt sgt rev hon jr jan feb mar apr jun jul aug sept oct
nov dec
"""
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_NUMBERED = "fig figs no nº núm nos vol vols pp pág págs art arts cap sec ch"
_BEFORE_NUMBERS = frozenset(_NUMBERED.split())
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“‘«¿¡]*\Z")
_LOOK_BACK = 24
_STOPS = (". ", "? ", "! ", ".\n", "?\n", "!\n")


def sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Positions in [start, end] just after a sentence, in order. Abbreviations and initials end none."""
    for match in _END.finditer(text, start, end):
        if match[0] != "." or not _is_abbreviation(text, match.start()):
            yield match.end()


def last_sentence_end(text: str, low: int, limit: int) -> int:
    """The last end of a sentence in (low, limit], or -1; any full stop where no sentence has a capital."""
    strict = max(
        (end for end in sentence_ends(text, low, min(limit + 1, len(text))) if end <= limit), default=-1
    )
    if strict > low:
        return strict
    stop = max(text.rfind(mark, low, limit) for mark in _STOPS)
    return stop + 1 if stop >= low else -1


def first_sentence_end(text: str, low: int, limit: int) -> int:
    """The first end of a sentence in (low, limit), or -1, by the same rule."""
    strict = next((end for end in sentence_ends(text, low, limit) if low < end < limit), -1)
    if strict > 0:
        return strict
    stops = [stop for mark in _STOPS if (stop := text.find(mark, low, limit)) >= 0]
    return min(stops) + 1 if stops else -1


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """The sentences of a text as (start, end), without white space around them. Empty lines end them too."""
    start = 0
    for stop in sorted({*sentence_ends(text, 0, len(text)), *_empty_lines(text), len(text)}):
        piece = text[start:stop]
        if not piece.isspace() and piece:
            lead = len(piece) - len(piece.lstrip())
            yield start + lead, start + len(piece.rstrip())
        start = stop


def _empty_lines(text: str) -> Iterator[int]:
    position = text.find("\n\n")
    while position >= 0:
        yield position
        position = text.find("\n\n", position + 2)


def _is_abbreviation(text: str, dot: int) -> bool:
    found = _WORD_BEFORE.search(text, max(0, dot - _LOOK_BACK), dot)
    word = found[0] if found else ""
    if word.lower() in _BEFORE_NUMBERS:
        return text[dot + 1 : dot + 3].lstrip()[:1].isdigit()
    return word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper())
