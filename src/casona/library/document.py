"""What the loaders make of a file: pages of text, and where their parts lie in it."""

from dataclasses import dataclass
from typing import Literal

from casona.exchange.errors import BadRequest

Kind = Literal["heading", "paragraph", "item", "table", "code"]

MAX_CHARS = 32_000_000
"""Most characters of text in a document: some 15,000 printed pages. More is a data dump, not a document."""


class Refused(BadRequest):
    """The document was not taken. `reason` is for its owner: what is the matter and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, param="file")

    @property
    def reason(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a page: page.text[start:end]. Blocks are in order and do not overlap.

    A heading has a `level` from 1 (the widest) and a `title` on one line. A bookmark whose words are
    not on its page is a heading of no length. Offsets are code points.
    """

    kind: Kind
    start: int
    end: int
    level: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`number` counts from 1; a format without pages has one. `text` is what citations point into.

    The text is Unicode NFC with `\\n` line ends, and has no control characters, soft hyphens, ligatures or
    lone surrogates (see loaders/characters.py).
    """

    number: int
    text: str
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """`notes` tell what of the file is not in the text: pages without text, pages that could not be read."""

    title: str
    media_type: str
    language: str
    pages: tuple[Page, ...]
    notes: tuple[str, ...] = ()
