"""What every vector store promises. One store holds the vectors of one collection, and nothing else: no text.

The database is the truth; a store is derived from it, keeps no state of its own that matters, and can be
built again from nothing.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]


class StoreFailed(Exception):
    """The store's files are missing, damaged or unreadable: build it again."""


class VectorStore(Protocol):
    """Rows of (passage id, vector of length 1 or of zeros). One thread writes; any thread may read meanwhile.

    Everything raises StoreFailed or OutOfSpace and nothing else.
    """

    dimensions: int
    name: str
    """What to open it by again. `purge` may change it; its owner writes it down, then calls `sweep`."""
    rows: int
    removed: int
    """Rows removed and not yet purged."""

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add rows under ids that are not there yet; later searches see all of them."""

    def remove(self, ids: Ids) -> None:
        """No search sees these rows any more. Ids that are not there are ignored."""

    def purge(self) -> None:
        """Leave nothing of removed rows in the store; with the `sweep` that follows, nothing on disk."""

    def sweep(self) -> None:
        """Delete what is on disk and not in use, such as what `purge` has replaced."""

    def tend(self, *, idle: bool) -> None:
        """Keep searches fast: merge small files, index what is new. Call it between writes and after them."""

    def search(self, vector: Vectors, limit: int) -> tuple[Ids, Scores]:
        """The `limit` nearest rows by cosine, best first, with their exact cosines.

        Where there are very many a few of the nearest may be missed.
        """

    def score(self, vector: Vectors, ids: Ids) -> Scores:
        """The exact cosines of these rows, in this order; NaN where an id is not there."""

    def ids(self) -> Ids:
        """Every id, ascending."""

    def batches(self) -> Iterator[tuple[Ids, Vectors]]:
        """All rows, in batches that fit in memory."""

    def status(self) -> dict[str, int]:
        """indexed (rows that searches need not scan), size_bytes (on disk)."""

    def close(self) -> None: ...
