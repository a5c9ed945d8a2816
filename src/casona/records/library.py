"""What the library keeps, as values. `documents.py` stores and finds them."""

from collections.abc import Sequence
from dataclasses import dataclass

PASSAGES_BITS = 20
"""A passage's id is its content's id and its place there: content_id << PASSAGES_BITS | place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecord:
    """`embedder` is pinned with the digest it had; `generation` counts changes."""

    id: int
    name: str
    embedder: str
    digest: str
    dimensions: int
    generation: int
    documents: int = 0
    passages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRecord:
    """`source` is the path or name it came under, `hash` the SHA-256 of its bytes; times are unix seconds."""

    id: str
    collection: str
    source: str
    title: str
    media_type: str
    language: str
    hash: str
    size_bytes: int
    pages: int
    passages: int
    notes: tuple[str, ...]
    added: float
    updated: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """`number` counts from 1 to `pages`; a citation's offsets are code points of `text`."""

    document_id: str
    number: int
    pages: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageRecord:
    """A passage of a whole document. Of several documents with the same bytes, the oldest."""

    id: int
    content_id: int
    document_id: str
    source: str
    collection: str
    language: str
    title: str
    page: int
    start: int
    end: int
    heading: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A file that has come in and is not yet a document."""

    id: int
    collection: str
    source: str
    hash: str
    size_bytes: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContent:
    """What was read from a file. `passages` are (page, start, end, heading)."""

    hash: str
    recipe: str
    title: str
    media_type: str
    language: str
    size_bytes: int
    pages: Sequence[tuple[int, str]]
    passages: Sequence[tuple[int, int, int, tuple[str, ...]]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """`content` is None when the collection has the same bytes already, as `content_id`."""

    arrival_id: int | None
    source: str
    content_id: int
    content: NewContent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A content that no document holds any more; `hash` is of its file."""

    id: int
    passages: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a transaction did to a collection. A `generation` of 0: it went with its last document."""

    generation: int
    document_ids: tuple[str, ...] = ()
    gone: tuple[Gone, ...] = ()


def passage_ids(content_id: int, count: int) -> range:
    return range(content_id << PASSAGES_BITS, (content_id << PASSAGES_BITS) + count)
