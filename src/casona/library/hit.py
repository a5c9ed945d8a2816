"""What a search finds: a passage, where it is, and how well it fits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """`content` is the page's text from `start` to `end` (code points); `page` counts from 1.

    `score` is in [0, 1] and comparable within one search only.
    """

    passage_id: str
    document_id: str
    source: str
    collection: str
    page: int
    start: int
    end: int
    content: str
    score: float
    heading: tuple[str, ...] = ()
    language: str = ""
