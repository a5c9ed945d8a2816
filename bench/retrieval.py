"""Retrieval: nDCG@10 and recall@5 of each leg and of the fusion, passages ingested a second, search times.

In this process and on real indexes; without parsing, the database, and the pipes to the library's process.
The large collection is made of the Spanish set's own words, drawn as often as they occur in it.
"""

import os
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.options import CHECKOUT, Options
from bench.questions import SETS, Questions, content
from bench.report import Promise, Section, Table, show
from casona.library import retrieve
from casona.library.collection import indexed_texts, keys_of
from casona.library.embed import Builtin
from casona.library.language import language_of
from casona.library.store.index import Candidates, Index
from casona.library.store.postings import asked
from casona.library.terms import question_terms
from casona.records.library import NewContent

LARGE = 100_000
LEGS = ("bm25", "dense", "fusion")
_WORDS_IN_A_PASSAGE = 110
_TOGETHER = 2000
_ASKED_OF_THE_LARGE = 300

Found = Sequence[tuple[Candidates, frozenset[int]]]


def run(options: Options) -> Section:
    section = Section(name="retrieval")
    data = Path(os.environ.get("CASONA_SHARED") or CHECKOUT.parent / "shared") / "data/retrieval"
    if not data.is_dir():
        section.notes.append(f"no questions found below {data}; CASONA_SHARED names another folder")
        return section
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(name, data, Path(folder)) for name in SETS}
        results["large"] = measure_large(data, Path(folder))
    _tell(section, results)
    return section


def measure(name: str, data: Path, folder: Path, *, questions: int | None = None) -> dict[str, Any]:
    """The figures of one set; of its first questions only, when told how many."""
    chosen = SETS[name](data)
    found, figures = _searched(replace(chosen, asked=chosen.asked[:questions]), folder / name)
    return figures | {leg: quality(found, leg) for leg in LEGS}


def measure_large(data: Path, folder: Path) -> dict[str, Any]:
    """How fast a large collection is searched; what it finds is nonsense."""
    chosen = SETS["squad-es"](data)
    words = [word for each in chosen.contents for word in each.pages[0][1].split()]
    drawn = random.Random(1)
    texts = (" ".join(drawn.choices(words, k=_WORDS_IN_A_PASSAGE)) for _ in range(LARGE))
    contents = (content(text, "es", [(1, 0, len(text), ())]) for text in texts)
    large = Questions("es", contents, chosen.asked[:_ASKED_OF_THE_LARGE])
    return _searched(large, folder / "large")[1]


def quality(found: Found, leg: str) -> dict[str, float]:
    gains, recalls = [], []
    for candidates, relevant in found:
        order = np.lexsort((candidates.ids, -_scores(candidates, leg)))
        best = candidates.ids[order].tolist()
        gain = sum(1 / np.log2(place + 2) for place, id_ in enumerate(best[:10]) if id_ in relevant)
        gains.append(gain / sum(1 / np.log2(place + 2) for place in range(min(10, len(relevant)))))
        recalls.append(len(relevant.intersection(best[:5])) / min(5, len(relevant)))
    return {"ndcg10": round(float(np.mean(gains)), 4), "recall5": round(float(np.mean(recalls)), 4)}


def _searched(chosen: Questions, folder: Path) -> tuple[Found, dict[str, Any]]:
    builtin = Builtin()
    index = Index(folder, identity=builtin.digest, dimensions=builtin.dimensions)
    began = time.perf_counter()
    passages = _fill(index, chosen.contents, builtin)
    filled_s = time.perf_counter() - began
    found, took = [], []
    for question, relevant in chosen.asked:
        began = time.perf_counter()
        keys = asked(question_terms(question, {chosen.language}, asked_in=language_of(question)))
        found.append((index.search(builtin.embed([question])[0], keys), relevant))
        took.append(time.perf_counter() - began)
    status = index.status()
    index.close()
    return found, {
        "passages": passages,
        "questions": len(found),
        "ingested_per_s": passages / filled_s,
        "p50_ms": float(np.percentile(took, 50)) * 1000,
        "p99_ms": float(np.percentile(took, 99)) * 1000,
        "disk_mb": (status["size_bytes"] + status["term_bytes"]) / 2**20,
        "resident_mb": psutil.Process().memory_info().rss / 2**20,
    }


def _fill(index: Index, contents: Iterable[NewContent], builtin: Builtin) -> int:
    count = 0
    index.begin()
    for some in _batches(contents):
        texts, keys = [], []
        for each in some:
            here = list(indexed_texts(each))
            texts += here
            keys += keys_of(here, each.language)
        index.add(np.arange(count, count + len(texts), dtype=np.int64), builtin.embed(texts), keys)
        index.commit(1)
        index.tend(idle=False)
        count += len(texts)
    index.tend(idle=True)
    return count


def _batches(contents: Iterable[NewContent]) -> Iterator[list[NewContent]]:
    """As the library's writer does it: what fits one transaction together."""
    some: list[NewContent] = []
    passages = 0
    for each in contents:
        some.append(each)
        passages += len(each.passages)
        if passages >= _TOGETHER:
            yield some
            some, passages = [], 0
    if some:
        yield some


def _scores(candidates: Candidates, leg: str) -> Any:
    if leg == "bm25":
        return candidates.bm25
    if leg == "dense":
        return np.nan_to_num(candidates.cosines, nan=-1)
    return retrieve.fuse(candidates, dense_weight=retrieve.BUILTIN_WEIGHT)


def _tell(section: Section, results: dict[str, dict[str, Any]]) -> None:
    sets = [name for name in results if name in SETS]
    rows = (
        (name, *(f"{results[name][leg]['ndcg10']:.3f} / {results[name][leg]['recall5']:.3f}" for leg in LEGS))
        for name in sets
    )
    section.tables.append(Table("Retrieval: nDCG@10 / recall@5", ("set", *LEGS), tuple(rows)))
    figures = ("passages", "ingested_per_s", "p50_ms", "p99_ms", "disk_mb", "resident_mb")
    columns = ("collection", "passages", "ingested/s", "search p50 ms", "p99 ms", "disk MB", "resident MB")
    speed = ((name, *(show(result[figure]) for figure in figures)) for name, result in results.items())
    section.tables.append(Table("Ingestion and search, built-in embedder", columns, tuple(speed)))
    for name in sets:
        better = max(results[name][leg]["ndcg10"] for leg in ("bm25", "dense"))
        section.promises.append(
            Promise(
                what=f"fusion against the better leg, {name}",
                sign=">=",
                bound=-0.005,
                measured=results[name]["fusion"]["ndcg10"] - better,
            )
        )
    what = f"hybrid search at {LARGE:,} passages, p50"
    section.promises.append(
        Promise(what=what, sign="<=", bound=15.0, measured=results["large"]["p50_ms"], unit="ms")
    )
    section.figures.update(results)
