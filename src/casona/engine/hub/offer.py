"""What a hub offers for a name: the files to fetch, and what it says about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from casona.engine.manifest import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file. `digest` is its sha256 in hex; `place` where it goes, relative to the models directory."""

    url: str
    digest: str
    size_bytes: int
    role: Role
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """`digest` (64 hex digits) changes when, and only when, what is offered changes."""

    digest: str
    items: tuple[Item, ...]
    source: str
    quantisation: str = ""
    template: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    license: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.items)


def single(digest: str) -> str:
    """Where a file that stands alone goes."""
    return f"blobs/sha256-{digest}.gguf"
