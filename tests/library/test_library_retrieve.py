"""How two legs become one ranking."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from casona.library.retrieve import Found, fuse, ranked
from casona.library.store.index import Candidates
from casona.records.library import PassageRecord

NAN = float("nan")


def candidates(bm25: list[float], cosines: list[float], floor: float = 0.0) -> Candidates:
    return Candidates(
        ids=np.arange(len(bm25)),
        bm25=np.array(bm25, np.float32),
        cosines=np.array(cosines, np.float32),
        floor=floor,
    )


@pytest.mark.parametrize(
    ("bm25", "cosines", "floor", "expected"),
    [
        ([10, 5, 0], [0.2, 0.6, 0.4], 0.2, [0.8, 0.6, 0.1]),  # the rule
        ([10, 5, 0], [NAN, NAN, NAN], 0.0, [1.0, 0.5, 0.0]),  # by words alone
        ([0, 0, 0], [0.2, 0.6, 0.4], 0.2, [0.0, 0.2, 0.1]),  # by meaning alone
        ([10, 5, 0], [0.1, NAN, 0.6], 0.2, [0.8, 0.4, 0.2]),  # below the floor, and unknown
        ([0], [0.3], 0.3, [0.2]),  # a collection of one passage
        ([0], [-0.3], -0.3, [0.0]),
        ([], [], 0.0, []),
    ],
)
def test_scores_are_added_on_one_scale(
    bm25: list[float], cosines: list[float], floor: float, expected: list[float]
) -> None:
    assert fuse(candidates(bm25, cosines, floor), dense_weight=0.2).tolist() == pytest.approx(expected)


def found(name: str, embedder: str, each: Candidates) -> Found:
    collection: Any = SimpleNamespace(embedder=SimpleNamespace(name=embedder, digest=embedder))
    return Found(
        collection=collection, candidates=each, passages={int(i): passage(name, i) for i in each.ids}
    )


def passage(collection: str, number: int) -> PassageRecord:
    return PassageRecord(
        id=number,
        content_id=0,
        document_id="",
        source="",
        collection=collection,
        language="",
        title="",
        page=1,
        start=0,
        end=1,
        heading=(),
    )


def test_collections_are_ranked_on_one_scale() -> None:
    one = found("one", "builtin", candidates([10, 0], [0.5, 0.1]))
    two = found("two", "builtin", candidates([5, 0], [1.0, 0.0]))
    assert [(each.collection, each.id, round(score, 3)) for score, each in ranked([one, two])] == [
        ("one", 0, 0.95),
        ("two", 0, 0.55),
        ("one", 1, 0.01),
    ]


def test_cosines_of_two_embedders_are_not_compared() -> None:
    one = found("one", "builtin", candidates([0], [0.2]))
    two = found("two", "minilm@engine", candidates([0], [0.9]))
    assert [(each.collection, round(score, 3)) for score, each in ranked([one, two])] == [
        ("two", 0.2),
        ("one", 0.1),
    ]


def test_nothing_found_is_no_hits() -> None:
    assert ranked([]) == ranked([found("one", "builtin", candidates([], []))]) == []
