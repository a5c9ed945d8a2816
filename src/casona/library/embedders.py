"""Where a collection's vectors come from: the built-in table, or a model of the catalog.

A model is asked through the main process, which knows the nodes, the zones and who may go where. A collection
is pinned to the embedder that it was begun with; when that model has become another one, its vectors are not
mixed with the old ones.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from casona.exchange.errors import Conflict, NodeFailed
from casona.library.embed import Builtin
from casona.library.store.base import Vectors

BUILTIN = "builtin"
_TEXTS_AT_ONCE = 32  # some 32,000 characters: a second on a small machine, so that progress shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A model's answer: float32 vectors in the order of the texts, one after the other.

    `digest` names the model's weights, "" when its node does not tell.
    """

    data: bytes
    dimensions: int
    digest: str = ""


Ask = Callable[[str, Sequence[str]], Embedded]
"""(model, texts) to the answer; blocks. Raises CasonaError."""


class Embedder(Protocol):
    """`digest` and `dimensions` tell whether two vectors may be compared."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row per text, of length 1. Raises CasonaError."""


class Embedders:
    """Makes the built-in one, which takes 0.1 s and 20 MB, once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._making = threading.Lock()
        self._builtin: _Named | None = None

    def get(self, name: str, *, digest: str = "", dimensions: int = 0) -> Embedder:
        """The embedder of this name, as it is now; for a pinned model, as it was then."""
        if name == BUILTIN:
            with self._making:
                self._builtin = self._builtin or _Named()
            return self._builtin
        return CatalogModel(name, self._ask, digest=digest, dimensions=dimensions)


class _Named(Builtin):
    name = BUILTIN


class CatalogModel:
    def __init__(self, name: str, ask: Ask, *, digest: str = "", dimensions: int = 0) -> None:
        """`digest` and `dimensions` are what it must still have; unless told, the model is asked for them."""
        self.name = name
        self._ask = ask
        self._pinned = (digest, dimensions) if dimensions else None

    @property
    def digest(self) -> str:
        return self._identity[0]

    @property
    def dimensions(self) -> int:
        return self._identity[1]

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = [self._some(texts[i : i + _TEXTS_AT_ONCE]) for i in range(0, len(texts), _TEXTS_AT_ONCE)]
        return np.concatenate(rows) if rows else np.empty((0, self.dimensions), np.float32)

    @cached_property
    def _identity(self) -> tuple[str, int]:
        if self._pinned is not None:
            return self._pinned
        answer = self._ask(self.name, ["casona"])
        return answer.digest, answer.dimensions

    def _some(self, texts: Sequence[str]) -> Vectors:
        answer = self._ask(self.name, list(texts))
        digest, dimensions = self._identity
        if answer.dimensions != dimensions or (digest and answer.digest and answer.digest != digest):
            raise Conflict(
                f"the model {self.name} is not the one this collection was begun with "
                f"({dimensions} dimensions, digest {digest[:12] or 'unknown'}); put the old one back, or "
                "remove the collection's documents and add them again"
            )
        vectors = np.frombuffer(answer.data, np.float32)
        if len(vectors) != len(texts) * dimensions or not np.isfinite(vectors).all():
            raise NodeFailed(f"{self.name} gave vectors that make no sense")
        vectors = vectors.reshape(len(texts), dimensions)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
