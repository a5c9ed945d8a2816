"""Embedders of the catalog, and what they may not become."""

from array import array
from collections.abc import Sequence

import numpy as np
import pytest

from casona.exchange.errors import CasonaError, Conflict, NodeFailed
from casona.library.embedders import CatalogModel, Embedded, Embedders


class Node:
    """Answers with what it is told to."""

    def __init__(self, row: Sequence[float] = (3.0, 4.0), digest: str = "d1") -> None:
        self.row, self.digest = row, digest
        self.asked: list[int] = []

    def __call__(self, _model: str, texts: Sequence[str]) -> Embedded:
        self.asked.append(len(texts))
        data = array("f", list(self.row) * len(texts)).tobytes()
        return Embedded(data=data, dimensions=len(self.row), digest=self.digest)


def test_the_model_is_asked_what_it_is_and_then_in_batches() -> None:
    node = Node()
    model = Embedders(node).get("m@node")
    assert (model.name, model.digest, model.dimensions) == ("m@node", "d1", 2)
    vectors = model.embed(["text"] * 70)
    assert node.asked == [1, 32, 32, 6]
    assert np.allclose(vectors, [0.6, 0.8])
    assert model.embed([]).shape == (0, 2)


@pytest.mark.parametrize(("row", "digest"), [((1.0, 2.0, 3.0), "d1"), ((3.0, 4.0), "d2")])
def test_another_model_under_the_same_name_is_refused(row: Sequence[float], digest: str) -> None:
    model = CatalogModel("m@node", Node(row, digest), digest="d1", dimensions=2)
    with pytest.raises(Conflict, match="m@node is not the one this collection was begun with"):
        model.embed(["text"])


def test_a_node_that_tells_no_digest_is_trusted_by_its_dimensions() -> None:
    model = CatalogModel("m@node", Node(digest=""), digest="d1", dimensions=2)
    assert model.embed(["text"]).shape == (1, 2)


@pytest.mark.parametrize("row", [(float("nan"), 1.0), (float("inf"), 1.0)])
def test_vectors_that_are_no_numbers_are_refused(row: Sequence[float]) -> None:
    with pytest.raises(NodeFailed, match="make no sense"):
        CatalogModel("m@node", Node(row), digest="d1", dimensions=2).embed(["text"])


def test_the_builtin_needs_no_node() -> None:
    def nobody(_model: str, _texts: Sequence[str]) -> Embedded:
        raise CasonaError("nobody is there")

    embedders = Embedders(nobody)
    assert embedders.get("builtin") is embedders.get("builtin")
    assert (embedders.get("builtin").name, embedders.get("builtin").dimensions) == ("builtin", 256)
