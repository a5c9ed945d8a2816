"""Both indexes of a collection. The first half any vector store must pass; add its maker to STORES."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casona.exchange.errors import OutOfSpace
from casona.library.store import lancedb
from casona.library.store.base import Ids, StoreFailed, Vectors, VectorStore
from casona.library.store.index import Index
from casona.library.store.lancedb import LanceVectors
from casona.library.store.moments import Moments
from casona.library.store.postings import TermIndex

DIMENSIONS = 16
Make = Callable[[], VectorStore]
STORES = {"lancedb": lambda folder: lambda: LanceVectors(folder, "v1", DIMENSIONS)}


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    return STORES[request.param](tmp_path / "store")


def vectors(count: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def ids(*numbers: int) -> Ids:
    return np.array(numbers, np.int64)


def test_the_nearest_come_first(make: Make) -> None:
    store, rows = make(), vectors(200)
    store.add(np.arange(200), rows)
    expected = np.argsort(-(rows @ rows[7]))[:10]
    found, scores = store.search(rows[7], 10)
    assert found.tolist() == expected.tolist()
    assert scores == pytest.approx(rows[expected] @ rows[7], abs=1e-6)


def test_scores_are_exact_cosines_in_the_order_asked(make: Make) -> None:
    store, rows = make(), vectors(50)
    store.add(np.arange(50), rows)
    scores = store.score(rows[0], ids(40, 3, 999, 3 + 4))
    assert np.isnan(scores).tolist() == [False, False, True, False]
    assert scores[[0, 1, 3]] == pytest.approx(rows[[40, 3, 7]] @ rows[0], abs=1e-6)
    assert store.score(rows[0], ids()).tolist() == []


def test_what_was_added_is_there_after_reopening(make: Make) -> None:
    make().add(ids(5, 2, 1 << 40), vectors(3))
    again = make()
    assert again.ids().tolist() == [2, 5, 1 << 40]
    (batch,) = again.batches()
    assert dict(zip(batch[0].tolist(), batch[1].tolist(), strict=True)) == dict(
        zip([5, 2, 1 << 40], vectors(3).tolist(), strict=True)
    )


def test_removed_rows_are_not_found_and_purged_from_the_disk(make: Make, tmp_path: Path) -> None:
    store, rows = make(), vectors(100)
    store.add(np.arange(100), rows)
    store.remove(ids(7, 8, 12345))
    assert 7 not in store.search(rows[7], 100)[0]
    assert (store.rows, store.removed) == (98, 2)
    assert on_disk(tmp_path, rows[7])
    store.purge()
    store.sweep()
    assert (store.rows, store.removed) == (98, 0)
    assert not on_disk(tmp_path, rows[7])
    assert on_disk(tmp_path, rows[9])
    assert store.search(rows[9], 1)[0].tolist() == [9]


def test_a_text_without_words_is_kept_too(make: Make) -> None:
    store = make()
    store.add(ids(1, 2), np.vstack([np.zeros(DIMENSIONS, np.float32), vectors(1)[0]]))
    assert store.search(vectors(1)[0], 2)[0].tolist() == [2, 1]


def test_tending_changes_nothing_that_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lancedb, "INDEXED_FROM_ROWS", 600)
    store, rows = make(), vectors(1200)
    for start in range(0, 1200, 40):
        store.add(np.arange(start, start + 40), rows[start : start + 40])
        store.tend(idle=False)
    store.remove(ids(3))
    store.tend(idle=True)
    assert store.rows == 1199
    assert 600 <= store.status()["indexed"] <= 1199
    assert all(store.search(rows[i], 5)[0][0] == i for i in (0, 599, 1199))
    assert store.score(rows[1], ids(1, 3))[0] == pytest.approx(1.0, abs=1e-6)


def test_vectors_of_another_length_are_refused(make: Make, tmp_path: Path) -> None:
    make().add(ids(1), vectors(1))
    with pytest.raises(StoreFailed, match="16 dimensions, not 8"):
        LanceVectors(tmp_path / "store", "v1", 8)


def test_a_full_disk_is_told_as_such(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()

    def full(*_: Any) -> None:
        raise RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)")

    monkeypatch.setattr(lancedb, "_rows", full)
    with pytest.raises(OutOfSpace):
        store.add(ids(1), vectors(1))


def on_disk(folder: Path, row: Vectors) -> bool:
    files = (file for file in folder.rglob("*") if file.is_file())
    return any(row.tobytes()[:32] in file.read_bytes() for file in files)


PASSAGES = {1: [10, 10, 20], 2: [10, 30], 3: [30, 30, 30, 40], 9: [50]}


@pytest.fixture
def terms(tmp_path: Path) -> TermIndex:
    index = TermIndex(tmp_path / "terms")
    index.add(ids(1, 2), [PASSAGES[1], PASSAGES[2]])
    index.add(ids(3, 9), [PASSAGES[3], PASSAGES[9]])
    return index


def bm25(passages: dict[int, list[int]], asked: dict[int, int], passage: int) -> float:
    """The formula, written out."""
    mean = sum(map(len, passages.values())) / len(passages)
    score = 0.0
    for term, times in asked.items():
        holding = sum(term in each for each in passages.values())
        count, length = passages[passage].count(term), len(passages[passage])
        rarity = np.log(1 + (len(passages) - holding + 0.5) / (holding + 0.5))
        score += times * rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))
    return score


def test_passages_are_scored_by_bm25(terms: TermIndex) -> None:
    asked = {10: 1, 30: 2, 777: 1}
    ranking = terms.rank(asked)
    expected = [bm25(PASSAGES, asked, passage) for passage in (1, 2, 3, 9)]
    assert ranking.of(ids(1, 2, 3, 9)) == pytest.approx(expected, rel=1e-5)
    assert ranking.best(10).tolist() == [2, 3, 1]
    assert ranking.best(1).tolist() == [2]


def test_removed_passages_count_for_nothing(terms: TermIndex) -> None:
    terms.remove(ids(2, 555))
    rest = {passage: PASSAGES[passage] for passage in (1, 3, 9)}
    assert terms.ids().tolist() == [1, 3, 9]
    assert terms.rank({30: 1}).of(ids(1, 2, 3)) == pytest.approx([0, 0, bm25(rest, {30: 1}, 3)], rel=1e-5)


def test_an_empty_term_index_finds_nothing(tmp_path: Path) -> None:
    assert TermIndex(tmp_path).rank({10: 1}).best(5).tolist() == []


def test_merging_segments_changes_no_score(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    passages = {
        int(i): random.integers(0, 40, random.integers(1, 30)).tolist() for i in random.permutation(60)
    }
    index = TermIndex(tmp_path / "terms")
    for passage, held in passages.items():
        index.add(ids(passage), [held])
    asked = {3: 1, 7: 1, 39: 2}
    before = index.rank(asked).of(index.ids())
    index.tend()
    index.sweep()
    assert len(index.names) <= 8
    assert sorted(entry.name for entry in (tmp_path / "terms").iterdir()) == sorted(index.names)
    assert index.rank(asked).of(index.ids()) == pytest.approx(before, rel=1e-6)
    again = TermIndex(tmp_path / "terms", index.names)
    assert again.rank(asked).of(index.ids()) == pytest.approx(before, rel=1e-6)
    assert before.tolist() == pytest.approx([bm25(passages, asked, i) for i in range(60)], rel=1e-4)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"x")])
def test_damaged_terms_are_noticed(terms: TermIndex, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(tmp_path / "terms" / terms.names[0] / "rows")
    with pytest.raises(StoreFailed):
        TermIndex(tmp_path / "terms", terms.names)


def test_terms_damaged_while_open_are_noticed(terms: TermIndex, tmp_path: Path) -> None:
    with open(tmp_path / "terms" / terms.names[0] / "rows", "r+b") as file:
        file.write(b"\xff" * 8)
    with pytest.raises(StoreFailed):
        terms.rank({10: 1, 30: 1})


def test_moments_are_those_of_all_cosines(tmp_path: Path) -> None:
    rows, question = vectors(500), vectors(1, seed=9)[0]
    moments = Moments(DIMENSIONS)
    moments.add(rows)
    moments.add(rows[:100])
    moments.remove(rows[:100])
    moments.save(tmp_path / "moments")
    cosines = rows.astype(np.float64) @ question
    for each in (moments, Moments.load(tmp_path / "moments", DIMENSIONS)):
        assert each.of(question) == pytest.approx((cosines.mean(), cosines.std()))
    assert Moments(DIMENSIONS).of(question) == (0.0, 0.0)


def opened(folder: Path, identity: str = "table") -> Index:
    return Index(folder, identity=identity, dimensions=DIMENSIONS)


def filled(folder: Path) -> Index:
    index = opened(folder)
    index.begin()
    index.add(ids(1, 2), vectors(2), [[10], [20]])
    index.commit(3)
    return index


def test_an_index_knows_its_generation(tmp_path: Path) -> None:
    index = opened(tmp_path)
    assert not index.is_at(0)
    filled(tmp_path).close()
    again = opened(tmp_path)
    assert (again.is_at(3), again.is_at(2)) == (True, False)
    assert [found.tolist() for found in again.ids()] == [[1, 2], [1, 2]]


def test_an_index_left_in_the_middle_of_a_change_is_not_trusted(tmp_path: Path) -> None:
    index = filled(tmp_path)
    index.begin()
    index.add(ids(5), vectors(1, seed=5), [[10]])
    again = opened(tmp_path)  # as after a crash: nothing was closed
    assert not again.is_at(3)
    assert [found.tolist() for found in again.ids()] == [[1, 2, 5], [1, 2]]


def test_an_index_made_otherwise_is_begun_anew(tmp_path: Path) -> None:
    filled(tmp_path).close()
    again = opened(tmp_path, identity="another table")
    assert [found.tolist() for found in again.ids()] == [[], []]
    assert not again.is_at(3)


@pytest.mark.parametrize("damaged", ["state.json", "terms/1/keys", "vectors/v1.lance/_versions/*"])
def test_a_damaged_index_is_begun_anew(damaged: str, tmp_path: Path) -> None:
    filled(tmp_path).close()
    for file in tmp_path.glob(damaged):
        file.write_bytes(b"damaged")
    again = opened(tmp_path)
    assert [found.tolist() for found in again.ids()] == [[], []]
    assert not again.is_at(3)


def test_damaged_moments_are_counted_again(tmp_path: Path) -> None:
    filled(tmp_path).close()
    (tmp_path / "moments").write_bytes(b"damaged")
    mean = opened(tmp_path).search(vectors(1)[0], {}).floor
    assert mean == pytest.approx(filled_floor(vectors(2), vectors(1)[0]))


def filled_floor(rows: Vectors, question: Vectors) -> float:
    cosines = rows @ question
    return float(cosines.mean() - 3 * cosines.std())


def test_the_union_of_both_legs_is_scored_in_both(tmp_path: Path) -> None:
    found = filled(tmp_path).search(vectors(2)[0], {20: 1})
    assert found.ids.tolist() == [1, 2]
    assert (found.bm25[0], found.bm25[1] > 0) == (0, True)
    assert found.cosines == pytest.approx(vectors(2) @ vectors(2)[0], abs=1e-6)
    without = filled(tmp_path / "other").search(None, {20: 1})
    assert (without.ids.tolist(), np.isnan(without.cosines).tolist()) == ([2], [True])
