"""The term index: which passages hold which terms, how often, and how long each passage is.

An inverted index in numpy arrays, kept as immutable segments that are mapped into memory. One query scores
every passage that shares a term with it, exactly; removing passages writes their segments anew without them,
so that nothing of them stays on disk. Terms are kept as 64-bit hashes of "language:term": a passage only
answers for terms made in its own language. docs/decisions/013-a-term-index-of-our-own.md tells why.

Score: Okapi BM25 (Robertson and Zaragoza, 2009) with k1 = 1.2, b = 0.75, as in Lucene.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from casona.library.store.base import Ids, Scores, StoreFailed
from casona.library.store.raw import mapped, write

K1 = 1.2
B = 0.75
MOST_SEGMENTS = 8
_MERGED_AT_ONCE = 6
_REMEMBERED_TERMS = 300_000
_COLUMNS: dict[str, type[np.generic]] = {
    "keys": np.uint64,
    "ends": np.int64,
    "rows": np.uint32,
    "counts": np.uint16,
    "ids": np.int64,
    "lengths": np.uint32,
}


class Keys(dict[str, int]):
    """From a term of one language to its name in the index. Terms repeat, so each is hashed once."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language

    def __missing__(self, term: str) -> int:
        if len(self) >= _REMEMBERED_TERMS:
            self.clear()
        digest = blake2b(f"{self._language}:{term}".encode(), digest_size=8).digest()
        self[term] = name = int.from_bytes(digest, "little")
        return name


@cache
def keys(language: str) -> Keys:
    return Keys(language)


@dataclass(frozen=True)
class Segment:
    """Postings by key, then row: those of keys[i] end at ends[i]. ids ascend by row; lengths in terms."""

    keys: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.int64]
    rows: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint16]
    ids: Ids
    lengths: npt.NDArray[np.uint32]

    @cached_property
    def total_length(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    def postings(self, name: int) -> slice:
        at = int(np.searchsorted(self.keys, np.uint64(name)))
        if at == len(self.keys) or int(self.keys[at]) != name:
            return slice(0, 0)
        return slice(int(self.ends[at - 1]) if at else 0, int(self.ends[at]))

    def add_scores(self, scores: Scores, span: slice, weight: float, mean_length: float) -> None:
        """Add one term's part of BM25. Raises StoreFailed for postings of rows that are not there."""
        rows, counts = self.rows[span], self.counts[span].astype(np.float32)
        try:
            norms = K1 * (1 - B + B / mean_length * self.lengths[rows])
        except IndexError as fault:
            raise StoreFailed(f"terms: {fault}") from fault
        scores[rows] += np.float32(weight) * counts / (counts + norms.astype(np.float32))

    def rows_of(self, ids: Ids) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Each id's row, and whether it is here at all."""
        at = np.minimum(np.searchsorted(self.ids, ids), max(len(self.ids) - 1, 0))
        return at, self.ids[at] == ids if len(self.ids) else np.zeros(len(ids), bool)


class Ranking:
    """The BM25 scores of one query over all passages."""

    def __init__(self, scored: Sequence[tuple[Segment, Scores]]) -> None:
        self._scored = scored

    def best(self, limit: int) -> Ids:
        """The ids of the best passages, best first; ties go to the lower id. Only passages that match."""
        ids, scores = [], []
        for segment, found in self._scored:
            rows = np.flatnonzero(found)
            if len(rows) > limit:
                rows = rows[np.argpartition(-found[rows], limit)[:limit]]
            ids.append(segment.ids[rows])
            scores.append(found[rows])
        if not ids:
            return np.empty(0, np.int64)
        every_id, every_score = np.concatenate(ids), np.concatenate(scores)
        return every_id[np.lexsort((every_id, -every_score))[:limit]]

    def of(self, ids: Ids) -> Scores:
        """The scores of these passages; 0 for those that don't match."""
        scores = np.zeros(len(ids), np.float32)
        for segment, found in self._scored:
            rows, here = segment.rows_of(ids)
            scores[here] = found[rows[here]]
        return scores


class TermIndex:
    """One thread writes; any thread may search meanwhile: it sees the segments as they were when it began.

    Segments appear and vanish on disk only with `save`, whose names the owner must then write down; what
    is on disk under other names is swept away when the index is opened.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        """Open the segments of these names; others are what a crash left. Raises StoreFailed."""
        self._folder = folder
        self._segments: dict[str, Segment] = {name: _load(folder / name) for name in names}
        self._next = max((int(name) for name in names), default=0) + 1
        self.sweep()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._segments)

    def add(self, ids: Ids, terms: Iterable[Sequence[int]]) -> None:
        """Add passages under ascending ids, each with the keys of all its terms, repeats and all."""
        if len(ids):
            self._replace((), [_built(ids, list(terms))])

    def remove(self, ids: Ids) -> None:
        """Write every segment that holds one of these ids anew, without them."""
        for name, segment in list(self._segments.items()):
            gone = np.isin(segment.ids, ids)
            if gone.any():
                self._replace([name], [_kept(segment, ~gone)])

    def tend(self) -> None:
        """Merge small segments: a query looks into each of them."""
        while len(self._segments) > MOST_SEGMENTS:
            smallest = sorted(self._segments, key=lambda name: len(self._segments[name].rows))
            names = smallest[:_MERGED_AT_ONCE]
            self._replace(names, [_merged([self._segments[name] for name in names])])

    def sweep(self) -> None:
        """Delete what is on disk and not in use."""
        for entry in self._folder.iterdir() if self._folder.is_dir() else ():
            if entry.name not in self._segments:
                shutil.rmtree(entry)

    def ids(self) -> Ids:
        parts = [segment.ids for segment in self._segments.values()]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    def rank(self, keys: Mapping[int, int]) -> Ranking:
        """Score all passages for a question's keys, each with how often it was asked for.

        Raises StoreFailed when a segment has been damaged since it was opened.
        """
        segments = list(self._segments.values())
        passages = sum(len(segment.ids) for segment in segments)
        mean_length = sum(segment.total_length for segment in segments) / passages if passages else 1.0
        found = [np.zeros(len(segment.ids), np.float32) for segment in segments]
        for name, asked in keys.items():
            spans = [segment.postings(name) for segment in segments]
            holding = sum(span.stop - span.start for span in spans)
            weight = asked * np.log(1 + (passages - holding + 0.5) / (holding + 0.5)) * (K1 + 1)
            for segment, span, scores in zip(segments, spans, found, strict=True):
                segment.add_scores(scores, span, weight, max(mean_length, 1e-9))
        return Ranking(list(zip(segments, found, strict=True)))

    def size_bytes(self) -> int:
        return sum(getattr(s, column).nbytes for s in self._segments.values() for column in _COLUMNS)

    def _replace(self, old: Iterable[str], new: Iterable[Segment]) -> None:
        segments = {name: segment for name, segment in self._segments.items() if name not in set(old)}
        for segment in new:
            if len(segment.ids):
                name = str(self._next)
                self._next += 1
                _save(segment, self._folder / name)
                segments[name] = _load(self._folder / name)
        self._segments = segments


def asked(question_terms: Iterable[tuple[str, str]]) -> Counter[int]:
    """The keys of a question's terms, given as (language, term)."""
    return Counter(keys(language)[term] for language, term in question_terms)


def _built(ids: Ids, terms: Sequence[Sequence[int]]) -> Segment:
    lengths = np.fromiter(map(len, terms), np.uint32, len(terms))
    keys = np.fromiter((name for passage in terms for name in passage), np.uint64, int(lengths.sum()))
    rows = np.repeat(np.arange(len(ids), dtype=np.uint32), lengths)
    order = np.lexsort((rows, keys))
    keys, rows = keys[order], rows[order]
    first = np.ones(len(keys), bool)
    first[1:] = (keys[1:] != keys[:-1]) | (rows[1:] != rows[:-1])
    starts = np.flatnonzero(first)
    counts = np.minimum(np.diff(starts, append=len(keys)), np.iinfo(np.uint16).max).astype(np.uint16)
    return _grouped(keys[starts], rows[starts], counts, ids.astype(np.int64), lengths)


def _grouped(
    keys: npt.NDArray[np.uint64],
    rows: npt.NDArray[np.uint32],
    counts: npt.NDArray[np.uint16],
    ids: Ids,
    lengths: npt.NDArray[np.uint32],
) -> Segment:
    """A segment of postings that are sorted by key and row."""
    last = np.ones(len(keys), bool)
    last[:-1] = keys[1:] != keys[:-1]
    ends = np.flatnonzero(last) + 1
    return Segment(keys[last], ends.astype(np.int64), rows, counts, ids, lengths)


def _spread(segment: Segment) -> npt.NDArray[np.uint64]:
    """The key of every posting."""
    return np.repeat(segment.keys, np.diff(segment.ends, prepend=0))


def _kept(segment: Segment, keep: npt.NDArray[np.bool_]) -> Segment:
    renumbered = (np.cumsum(keep) - 1).astype(np.uint32)
    here = keep[segment.rows]
    rows = renumbered[segment.rows[here]]
    return _grouped(
        _spread(segment)[here], rows, segment.counts[here], segment.ids[keep], segment.lengths[keep]
    )


def _merged(segments: Sequence[Segment]) -> Segment:
    ids = np.concatenate([segment.ids for segment in segments])
    by_id = np.argsort(ids, kind="stable")
    renumbered = np.empty(len(ids), np.uint32)
    renumbered[by_id] = np.arange(len(ids), dtype=np.uint32)
    firsts = np.cumsum([0] + [len(segment.ids) for segment in segments[:-1]])
    rows = np.concatenate(
        [renumbered[segment.rows + first] for segment, first in zip(segments, firsts, strict=True)]
    )
    keys = np.concatenate([_spread(segment) for segment in segments])
    counts = np.concatenate([segment.counts for segment in segments])
    lengths = np.concatenate([segment.lengths for segment in segments])[by_id]
    order = np.lexsort((rows, keys))
    return _grouped(keys[order], rows[order], counts[order], ids[by_id], lengths)


def _save(segment: Segment, folder: Path) -> None:
    folder.mkdir(parents=True)
    for column in _COLUMNS:
        write(folder / column, getattr(segment, column))


def _load(folder: Path) -> Segment:
    try:
        segment = Segment(**{column: mapped(folder / column, kind) for column, kind in _COLUMNS.items()})
    except (OSError, ValueError) as fault:
        raise StoreFailed(f"{folder}: {fault}") from fault
    postings = int(segment.ends[-1]) if len(segment.ends) else 0
    if not postings == len(segment.rows) == len(segment.counts) or len(segment.ids) != len(segment.lengths):
        raise StoreFailed(f"{folder}: its parts do not belong together")
    return segment
