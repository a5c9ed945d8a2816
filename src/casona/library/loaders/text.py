"""Plain text: kept as it is; empty lines set paragraphs apart."""

import re
from collections.abc import Iterator
from pathlib import Path

from casona.library.document import Block, Document, Page, Refused
from casona.library.language import language_of
from casona.library.loaders.characters import clean, decode, one_line
from casona.library.loaders.draft import refuse_too_long

Line = tuple[int, str]
"""Where a line starts in the text, and the line without its end."""

_UNDERLINE = re.compile(r"(={3,}|-{3,}|~{3,})\s*$")
_CHAPTER = re.compile(
    r"(chapter|part|appendix|section|capítulo|parte|anexo|sección|artículo)\s+[\divxlc]+\b", re.I
)
_LONGEST_HEADING = 80


def load(path: Path, max_pages: int) -> Document:
    """One page. Raises Refused for what is not text or says nothing."""
    text = read_text(path)
    blocks = tuple(_block(paragraph) for paragraph in paragraphs(text))
    title = next((block.title for block in blocks if block.kind == "heading"), "")
    page = Page(number=1, text=text, blocks=blocks)
    return Document(title=title, media_type="text/plain", language=language_of(text), pages=(page,))


def read_text(path: Path) -> str:
    """The stored form of a file of text. Raises Refused."""
    text = clean(decode(path.read_bytes()))
    if not text.strip():
        raise Refused("it has no text")
    refuse_too_long(len(text))
    return text


def lines(text: str) -> Iterator[Line]:
    start = 0
    for line in text.split("\n"):
        yield start, line
        start += len(line) + 1


def paragraphs(text: str) -> Iterator[list[Line]]:
    """Runs of lines that hold something."""
    found: list[Line] = []
    for line in lines(text):
        if line[1] and not line[1].isspace():
            found.append(line)
        elif found:
            yield found
            found = []
    if found:
        yield found


def _block(paragraph: list[Line]) -> Block:
    start, end = paragraph[0][0], paragraph[-1][0] + len(paragraph[-1][1])
    first = paragraph[0][1]
    if len(paragraph) == 2 and _UNDERLINE.match(paragraph[1][1]) and len(first) <= _LONGEST_HEADING:
        level = 1 if paragraph[1][1].startswith("=") else 2
        return Block(kind="heading", start=start, end=end, level=level, title=one_line(first))
    if len(paragraph) == 1 and _reads_as_heading(first):
        return Block(kind="heading", start=start, end=end, level=1, title=one_line(first))
    return Block(kind="paragraph", start=start, end=end)


def _reads_as_heading(line: str) -> bool:
    """A short line alone: all capitals, or "Chapter 3"."""
    line = line.strip()
    if len(line) > _LONGEST_HEADING or line[-1] in ".,;:!?":
        return False
    letters = sum(character.isalpha() for character in line)
    return (letters >= 4 and letters > len(line) / 2 and line.isupper()) or bool(_CHAPTER.match(line))
