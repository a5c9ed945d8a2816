"""Fifth step of the pipeline: lexical and dense search, fused to be no worse than the better leg.

The rule and why (measured, see bench/retrieval.py): plain reciprocal-rank fusion loses 14 points of nDCG@10
where one leg does not know the language. So both legs give their first 50, the whole union is scored exactly
in both, and the scores are added on one scale each:

    (1 - w) x BM25 / max BM25  +  w x (cosine - floor) / (max cosine - floor),   floor = mean - 3 deviations

w grows with the embedder's worth. nDCG@10 on squad-es / chunking-en at 1,000 characters: BM25 alone
.841 / .794; with the built-in table .842 / .791 at w = 0.1 (.844 / .789 at 0.2); with all-MiniLM-L6-v2 itself
.844 / .799 at 0.2.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from casona.exchange.errors import CasonaError, NotFound
from casona.library.collection import Collection
from casona.library.embedders import BUILTIN
from casona.library.hit import Hit
from casona.library.holdings import Holdings
from casona.library.language import language_of
from casona.library.store.base import Scores, StoreFailed, Vectors
from casona.library.store.index import Candidates
from casona.library.store.postings import asked
from casona.library.terms import question_terms
from casona.records.library import PassageRecord

log = logging.getLogger(__name__)

BUILTIN_WEIGHT = 0.1
MODEL_WEIGHT = 0.2
_ALIKE = 1e-6
_LONGEST_QUESTION = 20_000

Run = Callable[[Callable[[], Any]], "Future[Any]"]
"""Runs something on the writer's thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one collection has to offer: candidates that are really there."""

    collection: Collection
    candidates: Candidates
    passages: Mapping[int, PassageRecord]


class Retriever:
    """Safe to share between threads."""

    def __init__(self, holdings: Holdings, run: Run) -> None:
        self._holdings = holdings
        self._documents = holdings.documents
        self._run = run

    def retrieve(self, question: str, *, collection: str | None, limit: int) -> list[Hit]:
        """The passages that fit best, best first; over all collections when none is named.

        Of a very long question the first 20,000 characters are looked for.
        Raises NotFound when the collection named is not there.
        """
        question = question[:_LONGEST_QUESTION]
        if collection is None:
            names = [record.name for record in self._documents.collections()]
        else:
            names = [collection]
        found = [one for name in names if (one := self._found(name, question)) is not None]
        if collection is not None and not found:
            raise NotFound(f"there is no collection {collection!r}", param="collection")
        return self._hits(ranked(found)[:limit])

    def _hits(self, best: Sequence[tuple[float, PassageRecord]]) -> list[Hit]:
        texts = self._documents.texts([passage for _, passage in best])
        found = zip(best, texts, strict=True)
        return [_hit(passage, text, score) for (score, passage), text in found if text is not None]

    def _found(self, name: str, question: str) -> Found | None:
        for last in (False, True):
            if (collection := self._opened(name)) is None:
                return None
            try:
                return self._asked(collection, question)
            except StoreFailed as fault:
                if last:
                    raise CasonaError(f"collection {name} cannot be searched: {fault}") from fault
                if self._holdings.peek(name) is collection:
                    self._run(partial(self._holdings.distrust, collection)).result()
        return None

    def _opened(self, name: str) -> Collection | None:
        found = self._holdings.peek(name)
        if found is None:
            found = self._run(partial(self._holdings.open, name)).result()
        return found

    def _asked(self, collection: Collection, question: str) -> Found:
        languages = collection.languages(self._documents)
        keys = asked(question_terms(question, languages, asked_in=language_of(question)))
        candidates = collection.index.search(_vector(collection, question), keys)
        passages = self._documents.passages(candidates.ids.tolist())
        here = np.isin(candidates.ids, list(passages))
        kept = Candidates(
            ids=candidates.ids[here],
            bm25=candidates.bm25[here],
            cosines=candidates.cosines[here],
            floor=candidates.floor,
        )
        return Found(collection=collection, candidates=kept, passages=passages)


def ranked(found: Sequence[Found]) -> list[tuple[float, PassageRecord]]:
    """All candidates on one scale, best first, without those that neither leg has anything to say for."""
    bm25_top = max((float(one.candidates.bm25.max(initial=0)) for one in found), default=0.0)
    tops: dict[str, float] = {}
    for one in found:
        digest = one.collection.embedder.digest
        cosines = one.candidates.cosines[~np.isnan(one.candidates.cosines)]
        tops[digest] = max(tops.get(digest, -1.0), float(cosines.max(initial=-1.0)))
    result: list[tuple[float, PassageRecord]] = []
    for one in found:
        embedder = one.collection.embedder
        scores = fuse(
            one.candidates,
            dense_weight=BUILTIN_WEIGHT if embedder.name == BUILTIN else MODEL_WEIGHT,
            bm25_top=bm25_top,
            cosine_top=tops[embedder.digest],
        )
        result += [
            (float(score), one.passages[int(id_)])
            for id_, score in zip(one.candidates.ids, scores, strict=True)
            if score > 0
        ]
    return sorted(result, key=lambda each: (-each[0], each[1].id))


def fuse(
    candidates: Candidates,
    *,
    dense_weight: float,
    bm25_top: float | None = None,
    cosine_top: float | None = None,
) -> Scores:
    """One score from 0 to 1 per candidate. Without cosines (NaN) the lexical leg has the whole scale.

    `bm25_top` and `cosine_top` are the best of all candidates when these are not all.
    """
    cosines, floor = candidates.cosines, candidates.floor
    known = ~np.isnan(cosines)
    weight = dense_weight if known.any() else 0.0
    lexical = _scaled(candidates.bm25, 0.0, bm25_top)
    dense = _scaled(np.where(known, cosines, floor - 1), floor, cosine_top)
    return np.asarray((1 - weight) * lexical + weight * dense, np.float32)


def _scaled(scores: Scores, floor: float, top: float | None) -> Scores:
    if top is None:
        top = float(scores.max(initial=floor))
    if top - floor < _ALIKE:  # no scale: nothing matched, or all passages are alike, as a single one is
        return np.asarray((scores > top - _ALIKE) & (top > 0), np.float32)
    return np.asarray(np.clip((scores - floor) / (top - floor), 0.0, 1.0), np.float32)


def _vector(collection: Collection, question: str) -> Vectors | None:
    try:
        vectors = collection.embedder.embed([question])
    except CasonaError as fault:
        log.warning("collection %s is searched by words alone: %s", collection.name, fault)
        return None
    return np.asarray(vectors[0], np.float32)


def _hit(passage: PassageRecord, text: str, score: float) -> Hit:
    return Hit(
        passage_id=str(passage.id),
        document_id=passage.document_id,
        source=passage.source,
        collection=passage.collection,
        page=passage.page,
        start=passage.start,
        end=passage.end,
        content=text,
        score=score,
        heading=passage.heading,
        language=passage.language,
    )
