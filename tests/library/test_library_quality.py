"""Retrieval keeps its promise on the two sets of questions: the fusion is no worse than its better leg."""

from pathlib import Path

import pytest
from bench.questions import SETS
from bench.retrieval import measure


@pytest.mark.parametrize("name", SETS)
def test_the_fusion_is_no_worse_than_the_better_leg(name: str, shared: Path, tmp_path: Path) -> None:
    result = measure(name, shared / "data/retrieval", tmp_path, questions=600)
    legs, fusion = (result["bm25"]["ndcg10"], result["dense"]["ndcg10"]), result["fusion"]["ndcg10"]
    assert fusion >= max(legs) - 0.005
    assert fusion > {"squad-es": 0.8, "chunking-en": 0.75}[name]
