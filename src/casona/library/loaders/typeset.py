"""Lines of type to paragraphs, by how they are set on the page."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from casona.library.loaders.characters import clean

_HYPHEN = re.compile("(.?)\ufffe(.?)", re.S)
_BULLET = re.compile(r"(?:[•◦▪●○■□–—*\-‣⁃]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s")
_WIDEST_LEADING = 2.6
_SENTENCE_END = tuple('.!?:;。！？…"”»)')


class Line(NamedTuple):
    """Points from the page's lower left corner; `top` and `bottom` are the first and last baseline."""

    text: str
    left: float
    top: float
    bottom: float
    size: float
    bold: bool


@dataclass(slots=True)
class Paragraph:
    start: int
    end: int
    lines: int
    size: float
    bold: bool
    is_item: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Typeset:
    """A page's stored text and its paragraphs, before headings are known."""

    number: int
    text: str
    paragraphs: tuple[Paragraph, ...]


def compose(number: int, lines: list[Line], annotations: list[str]) -> Typeset:
    """Lines of one paragraph are set apart by a line end, paragraphs by an empty line.

    `annotations` follow as paragraphs of their own.
    """
    leading = _leading(lines)
    pieces: list[str] = []
    paragraphs: list[Paragraph] = []
    length = 0
    before: Line | None = None
    for line in lines:
        text = clean(_HYPHEN.sub(_joined, line.text)).strip()
        if not text:
            continue
        is_item = bool(_BULLET.match(text))
        if before is None or is_item or _starts_paragraph(before, line, leading):
            gap = "\n\n" if pieces else ""
            start = length + len(gap)
            paragraphs.append(Paragraph(start, start, 0, line.size, line.bold, is_item))
        else:
            gap = "\n"
            paragraphs[-1].bold &= line.bold
        pieces += (gap, text)
        length += len(gap) + len(text)
        paragraphs[-1].end = length
        paragraphs[-1].lines += 1
        before = line
    for text in annotations:
        gap = "\n\n" if pieces else ""
        pieces += (gap, text)
        paragraphs.append(Paragraph(length + len(gap), length + len(gap) + len(text), 9, 0.0, False, False))
        length = paragraphs[-1].end
    return Typeset(number=number, text="".join(pieces), paragraphs=tuple(paragraphs))


def _joined(match: re.Match[str]) -> str:
    """A hyphen at a line's end goes when it parts a word, and stays when it belongs to it."""
    before, after = match[1], match[2]
    return before + after if before.islower() and after.islower() else f"{before}-{after}"


def _leading(lines: list[Line]) -> float:
    """The commonest distance of two lines, in points; the smaller one where two are as common."""
    steps = Counter(
        round(above.bottom - line.top, 1)
        for above, line in pairwise(lines)
        if 0.5 * line.size < above.bottom - line.top < _WIDEST_LEADING * line.size
    )
    return min(steps, key=lambda step: (-steps[step], step), default=0.0)


def _starts_paragraph(before: Line, line: Line, leading: float) -> bool:
    if abs(line.size - before.size) > 0.08 * max(line.size, before.size):
        return True
    if line.bold != before.bold and _is_apart(before, line, leading):
        return True
    step = before.bottom - line.top
    if step < -0.5 * line.size:  # a new column, or the file draws out of order
        return before.text.endswith(_SENTENCE_END) or not line.text[0].islower()
    if step > 1.35 * max(leading, line.size):
        return True
    indent = line.left - before.left
    return indent > 0.8 * line.size and step > 0.5 * line.size and before.text.endswith(_SENTENCE_END)


def _is_apart(before: Line, line: Line, leading: float) -> bool:
    """Whether they are two lines at all: a bold word within a line may start a piece of its own."""
    return before.bottom - line.top > 0.5 * max(leading, 1.0)
