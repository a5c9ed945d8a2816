"""The derived index of one collection: vectors, terms and moments in one folder, tied to the database.

`state.json` names the generation of the collection that the index holds, and the files that belong to it. It
says `dirty` from before the first change until the database has committed and everything is written; so after
a crash at any moment the index either is what the database says, or knows that it may not be and is
reconciled id by id (`ingest.py`).
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from casona.library.store.base import Ids, Scores, StoreFailed, Vectors, VectorStore
from casona.library.store.lancedb import LanceVectors
from casona.library.store.moments import Moments
from casona.library.store.postings import TermIndex

log = logging.getLogger(__name__)

FORMAT = 1
LEG_LIMIT = 50
"""Passages taken from each leg before the union is scored exactly in both."""


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`identity` is what the rows were made with; of another identity they are worth nothing."""

    identity: str
    generation: int = 0
    dirty: bool = True
    vectors: str = "v1"
    removed: int = 0
    terms: tuple[str, ...] = ()
    has_moments: bool = False
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The union of both legs, scored exactly in both: BM25 (0: no term in common) and cosine.

    `floor` is a cosine that hardly any passage falls below. Cosines are NaN when the dense leg was not asked.
    """

    ids: Ids
    bm25: Scores
    cosines: Scores
    floor: float


class Index:
    """One thread changes it (`begin`, then changes, then `commit`); any thread may search meanwhile."""

    def __init__(self, folder: Path, *, identity: str, dimensions: int) -> None:
        """Open it; what is missing, damaged or of another identity is begun anew, empty and dirty."""
        self._folder = folder
        self._dimensions = dimensions
        folder.mkdir(parents=True, exist_ok=True)
        state = _read(folder / "state.json")
        fresh = State(identity=f"{identity}/{dimensions}")
        try:
            if state is None or (state.identity, state.format) != (fresh.identity, FORMAT):
                raise StoreFailed("made otherwise")
            # After a crash nobody knows how many rows were on their way out.
            self._open(state, removed=max(state.removed, 1) if state.dirty else state.removed)
        except StoreFailed as fault:
            if any(folder.iterdir()):
                log.warning("the index %s is built again: %s", folder.name, fault)
            shutil.rmtree(folder)
            folder.mkdir(parents=True)
            self._open(fresh, removed=0)

    def _open(self, state: State, *, removed: int) -> None:
        self._state = state
        self._terms = TermIndex(self._folder / "terms", state.terms)
        self._vectors: VectorStore = LanceVectors(
            self._folder / "vectors", state.vectors, self._dimensions, removed=removed
        )
        self._moments = self._loaded_moments() if state.has_moments else self._counted_moments()

    def is_at(self, generation: int) -> bool:
        return not self._state.dirty and self._state.generation == generation

    def begin(self) -> None:
        """Say that changes are under way. Call it before the first one."""
        if not self._state.dirty or self._state.has_moments:
            self._write(dirty=True, has_moments=False)

    def add(self, ids: Ids, vectors: Vectors, terms: Sequence[Sequence[int]]) -> None:
        """Add passages under ascending ids that are not there yet, with the keys of their terms."""
        self.add_vectors(ids, vectors)
        self.add_terms(ids, terms)

    def add_vectors(self, ids: Ids, vectors: Vectors) -> None:
        if len(ids):
            self._vectors.add(ids, vectors)
            self._moments.add(vectors)

    def add_terms(self, ids: Ids, terms: Sequence[Sequence[int]]) -> None:
        self._terms.add(ids, terms)

    def remove(self, ids: Ids) -> None:
        if len(ids):
            self._terms.remove(ids)
            self._vectors.remove(ids)
            self._moments = self._counted_moments()

    def commit(self, generation: int) -> None:
        """Say that the index holds this generation. Then what it no longer needs goes from the disk."""
        self._terms.tend()
        self._write(dirty=False, generation=generation)
        self._terms.sweep()
        self._vectors.sweep()

    def tend(self, *, idle: bool) -> None:
        self._vectors.tend(idle=idle)

    @property
    def generation(self) -> int:
        return self._state.generation

    @property
    def rows(self) -> int:
        return self._vectors.rows

    @property
    def removed(self) -> int:
        """Vectors that are removed and still on disk."""
        return self._vectors.removed

    def purge(self) -> None:
        """Leave nothing on disk of what was removed. Terms are gone already."""
        self._vectors.purge()
        self._write()
        self._vectors.sweep()

    def ids(self) -> tuple[Ids, Ids]:
        """The passages that have vectors, and those that have terms."""
        return self._vectors.ids(), self._terms.ids()

    def search(self, vector: Vectors | None, keys: Mapping[int, int]) -> Candidates:
        """Both legs' best; without a vector the lexical leg alone."""
        if vector is None or not vector.any():
            ranking = self._terms.rank(keys)
            ids = ranking.best(LEG_LIMIT)
            return Candidates(ids=ids, bm25=ranking.of(ids), cosines=np.full(len(ids), np.nan), floor=0.0)
        ranking = self._terms.rank(keys)
        lexical = ranking.best(LEG_LIMIT)
        near, near_cosines = self._vectors.search(vector, LEG_LIMIT)
        lexical = np.setdiff1d(lexical, near)
        cosines = self._vectors.score(vector, lexical)
        ids = np.concatenate([lexical, near])
        mean, deviation = self._moments.of(vector)
        return Candidates(
            ids=ids,
            bm25=ranking.of(ids),
            cosines=np.concatenate([cosines, near_cosines]),
            floor=mean - 3 * deviation,
        )

    def status(self) -> dict[str, int]:
        return self._vectors.status() | {
            "rows": self.rows,
            "removed": self.removed,
            "term_rows": len(self._terms.ids()),
            "term_bytes": self._terms.size_bytes(),
            "generation": self._state.generation,
        }

    def close(self) -> None:
        """Keep the moments, which take a while to count, unless changes were left half done."""
        if not self._state.dirty and not self._state.has_moments:
            try:
                self._moments.save(self._folder / "moments")
                self._write(has_moments=True)
            except OSError as fault:
                log.warning("the moments of index %s are not kept: %s", self._folder.name, fault)
        self._vectors.close()

    def _loaded_moments(self) -> Moments:
        try:
            return Moments.load(self._folder / "moments", self._dimensions)
        except StoreFailed as fault:
            log.warning("counted again: %s", fault)
            return self._counted_moments()

    def _counted_moments(self) -> Moments:
        moments = Moments(self._dimensions)
        for _, vectors in self._vectors.batches():
            moments.add(vectors)
        return moments

    def _write(self, **changes: bool | int) -> None:
        kept = {"vectors": self._vectors.name, "removed": self._vectors.removed, "terms": self._terms.names}
        self._state = msgspec.structs.replace(self._state, **kept | changes)
        path = self._folder / "state.json"
        path.with_suffix(".new").write_bytes(msgspec.json.encode(self._state))
        path.with_suffix(".new").replace(path)


def _read(path: Path) -> State | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None
