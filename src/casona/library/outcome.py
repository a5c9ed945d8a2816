"""What becomes of a file that is added, and how far it has come."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`document` is its id, None when it was refused; then `reason` tells its owner why."""

    path: str
    outcome: Literal["stored", "unchanged", "updated", "refused"]
    document: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`done` of `total` passages; a total of 0: not known yet."""

    stage: Literal["reading", "embedding", "storing"]
    done: int = 0
    total: int = 0
