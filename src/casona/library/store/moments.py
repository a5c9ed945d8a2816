"""Where the vectors of a collection lie: exactly what cosines a question has with them on average.

With mean mu and covariance S of the vectors, the cosines of a question q with all of them have mean q·mu and
variance q'Sq. Kept as sums, so that adding and removing vectors costs little.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from casona.library.store.base import StoreFailed, Vectors
from casona.library.store.raw import mapped, write

_NOISE = 1e-9  # what is left of float32 rows that are alike


class _Sums(NamedTuple):
    vectors: int
    total: npt.NDArray[np.float64]
    products: npt.NDArray[np.float64]


class Moments:
    """One thread changes them; any may ask meanwhile."""

    def __init__(self, dimensions: int) -> None:
        self._sums = _Sums(0, np.zeros(dimensions), np.zeros((dimensions, dimensions)))

    @property
    def count(self) -> int:
        return self._sums.vectors

    def add(self, vectors: Vectors) -> None:
        self._change(vectors, 1)

    def remove(self, vectors: Vectors) -> None:
        self._change(vectors, -1)

    def of(self, question: Vectors) -> tuple[float, float]:
        """Mean and standard deviation of the question's cosines with all vectors; zeros without any."""
        count, total, products = self._sums
        if count == 0:
            return 0.0, 0.0
        q = question.astype(np.float64)
        mean = float(q @ total) / count
        variance = float(q @ products @ q) / count - mean * mean
        return mean, float(np.sqrt(variance)) if variance > _NOISE else 0.0

    def save(self, path: Path) -> None:
        count, total, products = self._sums
        write(path, np.concatenate([[count], total, products.ravel()]))

    @classmethod
    def load(cls, path: Path, dimensions: int) -> "Moments":
        """Raises StoreFailed."""
        moments = cls(dimensions)
        try:
            kept = np.array(mapped(path, np.float64))
        except (OSError, ValueError) as fault:
            raise StoreFailed(f"{path}: {fault}") from fault
        if len(kept) != 1 + dimensions + dimensions**2 or not np.isfinite(kept).all():
            raise StoreFailed(f"{path}: damaged, or of other vectors")
        total, products = kept[1 : 1 + dimensions], kept[1 + dimensions :]
        moments._sums = _Sums(int(kept[0]), total, products.reshape(dimensions, dimensions))
        return moments

    def _change(self, vectors: Vectors, sign: int) -> None:
        exact = vectors.astype(np.float64)
        count, total, products = self._sums
        self._sums = _Sums(
            count + sign * len(vectors),
            total + sign * exact.sum(axis=0),
            products + sign * (exact.T @ exact),
        )
