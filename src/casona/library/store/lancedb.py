"""Vectors in LanceDB, an embedded database: one table per collection, in a folder of its own.

LanceDB appends: a removed row stays on disk until its file is written again, and `optimize` leaves files with
few removed rows as they are. So `purge` writes the table anew beside the old one.

Measured at 100,000 x 256 on two cores, real text, first 50: without an index 55 ms; IVF_FLAT 4 ms, built in
1.6 s, finds .94 of them; IVF_HNSW_SQ 5 ms, built in 24 s, .87. Scoring 50 given rows takes 2.6 ms by their
places, 5.7 ms by a filter. docs/decisions/014-which-vector-index.md has the table.
"""

import datetime
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from casona.exchange.errors import OutOfSpace
from casona.library.store.base import Ids, Scores, StoreFailed, Vectors

INDEXED_FROM_ROWS = 10_000
_TENDED_AFTER_WRITES = 20
_BATCH_ROWS = 8192
_FULL = ("no space left", "quota exceeded", "file too large")
_INDEX_CACHE_BYTES = 512 * 2**20
_AT_ONCE = datetime.timedelta(milliseconds=1)  # zero, too, but LanceDB warns about that
_ROWS_PER_PARTITION = 2048
_LEAST_PROBES = 12
_PROBED_SHARE = 8  # one partition in eight, where there are many


class LanceVectors:
    """See VectorStore. `name` is what to open it by again; `purge` changes it."""

    def __init__(self, folder: Path, name: str, dimensions: int, *, removed: int = 0) -> None:
        """Open the table, or make it when it is not there; `removed` rows await a purge."""
        self.dimensions = dimensions
        self.name = name
        self._folder = folder
        self._guard = _Guard()
        self._writes = 0
        self._order: _Order | None = None
        with _told():
            self._connection = _connect(folder)
            here = name in self._connection.list_tables().tables
            self._table: Any = self._connection.open_table(name) if here else self._made(name)
            self.rows = int(self._table.count_rows())
            kept = self._table.schema.field("vector").type.list_size
        if kept != dimensions:
            raise StoreFailed(f"{folder}: its vectors have {kept} dimensions, not {dimensions}")
        self.removed = removed

    def add(self, ids: Ids, vectors: Vectors) -> None:
        with _told():
            self._table.add(_rows(ids, vectors, self.dimensions))
        self.rows += len(ids)
        self._written()

    def remove(self, ids: Ids) -> None:
        with _told():
            for start in range(0, len(ids), _BATCH_ROWS):
                self._table.delete(_among(ids[start : start + _BATCH_ROWS]))
            left = int(self._table.count_rows())
        self.removed += self.rows - left
        self.rows = left
        self._written()

    def purge(self) -> None:
        """The old table stays on disk until `sweep`, so that a crash leaves one of the two whole."""
        if not self.removed:
            return
        self._drop_waste()
        name = f"v{int(self.name.removeprefix('v')) + 1}"
        with _told():
            self._connection.drop_table(name, ignore_missing=True)
            try:
                table = self._written_anew(name)
            except BaseException:
                self._connection.drop_table(name, ignore_missing=True)
                raise
        with self._guard.alone():
            self.name, self._table, self.removed, self._order = name, table, 0, None

    def sweep(self) -> None:
        with self._guard.alone(), _told():
            for table in self._connection.list_tables().tables:
                if table != self.name:
                    self._connection.drop_table(table)

    def tend(self, *, idle: bool) -> None:
        with _told():
            unindexed = _unindexed_rows(self._table)
            # While documents stream in, an index of twice the rows each time costs twice the last one in all.
            if unindexed >= max(INDEXED_FROM_ROWS, 0 if idle else self.rows // 2):
                _index(self._table)
                self._writes = _TENDED_AFTER_WRITES  # the index before this one is waste
            if self._writes >= _TENDED_AFTER_WRITES:
                self._table.optimize()
                self._drop_waste()
                self._writes = 0

    def search(self, vector: Vectors, limit: int) -> tuple[Ids, Scores]:
        with self._guard.shared(), _told():
            probes = max(_LEAST_PROBES, self.rows // _ROWS_PER_PARTITION // _PROBED_SHARE)
            rows = self._query(vector).limit(limit).nprobes(probes).to_arrow()
        return rows["id"].to_numpy(), np.asarray(1 - rows["_distance"].to_numpy(), np.float32)

    def score(self, vector: Vectors, ids: Ids) -> Scores:
        scores = np.full(len(ids), np.nan, np.float32)
        with self._guard.shared(), _told():
            found, vectors = self._rows_at(ids)
        places = {int(name): place for place, name in enumerate(ids)}
        for name, score in zip(found.tolist(), (vectors @ vector).tolist(), strict=True):
            scores[places[name]] = score
        return scores

    def ids(self) -> Ids:
        with self._guard.shared(), _told():
            found: Ids = self._table.search().select(["id"]).to_arrow()["id"].to_numpy()
        return np.sort(found)

    def batches(self) -> Iterator[tuple[Ids, Vectors]]:
        with self._guard.shared(), _told():
            for batch in self._table.search().select(["id", "vector"]).to_batches(_BATCH_ROWS):
                yield _numbers(batch, self.dimensions)

    def status(self) -> dict[str, int]:
        with self._guard.shared(), _told():
            indexed = self.rows - _unindexed_rows(self._table)
        size = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())
        return {"indexed": indexed, "size_bytes": size}

    def close(self) -> None:
        """Wait for searches to end. LanceDB closes its files when the table is forgotten."""
        with self._guard.alone():
            self._table = _Closed()

    def _drop_waste(self) -> None:
        """Delete old versions, and what a write left behind that failed or was killed."""
        with self._guard.alone(), _told():
            self._table.optimize(cleanup_older_than=_AT_ONCE, delete_unverified=True)
        self._order = None

    def _written(self) -> None:
        self._writes += 1
        self._order = None

    def _written_anew(self, name: str) -> Any:
        table = self._made(name)
        for ids, vectors in self.batches():
            table.add(_rows(ids, vectors, self.dimensions))
        _index(table)
        return table

    def _rows_at(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Those of these rows that are there, in any order.

        By their places in the table, which takes half the time of a filter. Places change with writes, so it
        is seen to that what was found is what was meant.
        """
        order = self._order or self._placed()
        at = np.minimum(np.searchsorted(order.ids, ids), max(len(order.ids) - 1, 0))
        here = at[order.ids[at] == ids] if len(order.ids) else at[:0]
        if not len(here):
            return np.empty(0, np.int64), np.empty((0, self.dimensions), np.float32)
        rows = (
            self._table.take_offsets(np.sort(order.places[here]).tolist()).select(["id", "vector"]).to_arrow()
        )
        if not np.array_equal(np.sort(rows["id"].to_numpy()), np.sort(order.ids[here])):
            rows = self._table.search().where(_among(ids)).limit(len(ids)).select(["id", "vector"]).to_arrow()
        return _numbers(rows, self.dimensions)

    def _placed(self) -> "_Order":
        found = self._table.search().select(["id"]).to_arrow()["id"].to_numpy()
        places = np.argsort(found)
        self._order = _Order(found[places], places)
        return self._order

    def _query(self, vector: Vectors) -> Any:
        return self._table.search(vector).distance_type("dot").select(["id", "_distance"])

    def _made(self, name: str) -> Any:
        import pyarrow as pa

        vector = pa.list_(pa.float32(), self.dimensions)
        return self._connection.create_table(
            name, schema=pa.schema([pa.field("id", pa.int64()), pa.field("vector", vector)])
        )


class _Order(NamedTuple):
    """Where each row is in its table; `ids` ascend."""

    ids: Ids
    places: npt.NDArray[np.intp]


class _Closed:
    """In the place of a table, for whoever comes too late."""

    def __getattr__(self, name: str) -> Any:
        raise StoreFailed("closed")


class _Guard:
    """Readers together, or one alone: files may only go when nobody reads them."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._readers = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._free:
            self._readers += 1
        try:
            yield
        finally:
            with self._free:
                self._readers -= 1
                self._free.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._free:
            self._free.wait_for(lambda: not self._readers)
            yield


@contextmanager
def _told() -> Iterator[None]:
    """LanceDB raises RuntimeError, ValueError, OSError and its kin for what befalls its files."""
    try:
        yield
    except (RuntimeError, ValueError, OSError, KeyError) as fault:
        if any(words in str(fault).lower() for words in _FULL):
            raise OutOfSpace("no space left for the library's vectors; free some and try again") from fault
        raise StoreFailed(f"vectors: {fault}") from fault


def _connect(folder: Path) -> Any:
    import lancedb

    session = lancedb.Session(index_cache_size_bytes=_INDEX_CACHE_BYTES)
    return lancedb.connect(folder, session=session)


def _rows(ids: Ids, vectors: Vectors, dimensions: int) -> Any:
    import pyarrow as pa

    if vectors.shape != (len(ids), dimensions):
        raise ValueError(f"{vectors.shape} vectors for {len(ids)} ids of {dimensions} dimensions")
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    columns = [pa.array(ids, pa.int64()), pa.FixedSizeListArray.from_arrays(flat, dimensions)]
    return pa.table(columns, names=["id", "vector"])


def _numbers(rows: Any, dimensions: int) -> tuple[Ids, Vectors]:
    """The ids and vectors of a table or batch of Arrow's."""
    column = rows["vector"]
    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    return rows["id"].to_numpy(), np.asarray(whole.flatten(), np.float32).reshape(-1, dimensions)


def _among(ids: Ids) -> str:
    return f"id IN ({','.join(map(str, ids.tolist()))})"


def _unindexed_rows(table: Any) -> int:
    rows = int(table.count_rows())
    indexed = sum(index.num_indexed_rows for index in table.list_indices() if index.columns == ["vector"])
    return max(rows - int(indexed), 0)


def _index(table: Any) -> None:
    """Build both indexes over all rows; few rows are faster without."""
    from lancedb.index import BTree, IvfFlat

    rows = table.count_rows()
    if rows >= INDEXED_FROM_ROWS:
        partitions = max(rows // _ROWS_PER_PARTITION, 1)
        table.create_index("id", config=BTree())
        table.create_index("vector", config=IvfFlat(distance_type="dot", num_partitions=partitions))
