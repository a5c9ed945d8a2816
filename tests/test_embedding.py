"""Vectors from models of the catalog: how far texts may travel for them, and what is recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from casona.embedding import Embedding
from casona.exchange.errors import BadRequest, CasonaError, Forbidden, NodeFailed, NodeRefused, PromptTooLong
from casona.exchange.keys import Key
from casona.exchange.zones import Zone
from casona.nodes.base import Embeddings, NodeModel
from casona.records.library import CollectionRecord
from casona.records.usage import UsageRow
from casona.routing.catalog import Catalog
from casona.serve import Desk

CONTEXT_WORDS = 8


class WordCounter:
    """A node whose vectors tell how many words it has read, and which reads eight at most."""

    relays: frozenset[str] = frozenset()
    relays_whole: frozenset[str] = frozenset()

    def __init__(self, name: str, zone: Zone) -> None:
        self.name = name
        self.zone = zone
        self.fault: CasonaError | None = None
        self.too_long: CasonaError | None = None

    async def models(self) -> tuple[NodeModel, ...]:
        embeds = NodeModel(name="count", zone=self.zone, abilities=frozenset({"embed"}))
        return embeds, NodeModel(name="talk", zone=self.zone, abilities=frozenset({"chat"}))

    async def embed(self, _model: str, texts: Sequence[str]) -> Embeddings:
        if self.fault:
            raise self.fault
        words = [len(text.split()) for text in texts]
        if max(words) > CONTEXT_WORDS:
            raise self.too_long or PromptTooLong(prompt_tokens=max(words), context_tokens=CONTEXT_WORDS)
        return Embeddings(vectors=[[float(count)] for count in words], prompt_tokens=sum(words))


class Holding:
    """A library that holds collections with these embedders."""

    def __init__(self, **embedders: str) -> None:
        self.embedders = embedders

    async def collections(self) -> list[CollectionRecord]:
        return [
            CollectionRecord(id=1, name=name, embedder=embedder, digest="", dimensions=1, generation=1)
            for name, embedder in self.embedders.items()
        ]


Story = Callable[[Embedding], Awaitable[Any]]


def told(story: Story, *, max_zone: Zone = Zone.CLOUD, node: WordCounter | None = None) -> Any:
    """What a story gives, and the rows it leaves in the records of use."""
    rows: list[UsageRow] = []

    async def run() -> Any:
        nodes: list[Any] = [node or WordCounter("near", Zone.LOCAL), WordCounter("far", Zone.CLOUD)]
        catalog = Catalog(nodes, {})
        await catalog.refresh()
        desk = Desk(catalog=catalog, record=rows.append, max_zone=max_zone)
        digests = {("near", "count"): "d1"}
        embedding = Embedding(desk, lambda *who: digests.get(who, ""), configured="count@far")
        return await story(embedding)

    return asyncio.run(run()), rows


def test_each_text_has_its_vector_and_the_use_is_recorded() -> None:
    vectors, rows = told(lambda embedding: embedding.embed("count@near", ["one two", "three"]))
    assert (vectors.vectors, vectors.digest) == ([[2.0], [1.0]], "d1")
    (row,) = rows
    assert (row.key_id, row.model, row.node, row.zone, row.route, row.prompt_tokens, row.ended) == (
        *("library", "count@near", "near", "local", "library.embed"),
        *(3, "done"),
    )


@pytest.mark.parametrize(
    "too_long",
    [
        None,
        BadRequest("input: a text is longer than this model can embed at once", param="input"),
        NodeRefused("This model's maximum context length is 8 tokens", status=400),
    ],
)
def test_a_text_too_long_for_the_model_is_embedded_by_its_beginning(too_long: CasonaError | None) -> None:
    texts = ["one two", "a " * 50]
    node = WordCounter("near", Zone.LOCAL)
    node.too_long = too_long
    vectors, _ = told(lambda embedding: embedding.embed("count@near", texts), node=node)
    (short, (read,)) = vectors.vectors
    assert short == [2.0]
    assert CONTEXT_WORDS / 2 < read <= CONTEXT_WORDS


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ("count@far", Forbidden, "data may travel no further than 'private'"),
        ("talk@near", BadRequest, "can't embed"),
        ("nope@near", CasonaError, "does not exist"),
    ],
)
def test_what_may_not_or_cannot_embed_is_told(model: str, kind: type[CasonaError], message: str) -> None:
    with pytest.raises(kind, match=message):
        told(lambda embedding: embedding.embed(model, ["a"]), max_zone=Zone.PRIVATE)


@pytest.mark.parametrize(
    ("fault", "ended", "status"),
    [
        (NodeFailed("it broke"), "error", 502),
        (NodeRefused("no such model", status=400), "refused", 400),
    ],
)
def test_a_node_that_fails_is_recorded_as_such(fault: CasonaError, ended: str, status: int) -> None:
    node = WordCounter("near", Zone.LOCAL)
    node.fault = fault

    async def story(embedding: Embedding) -> None:
        with pytest.raises(type(fault), match=str(fault)):
            await embedding.embed("count@near", ["a"])

    _, (row,) = told(story, node=node)
    assert (row.ended, row.status, row.node) == (ended, status, "near")


@pytest.mark.parametrize(
    ("key_zone", "collection", "may"),
    [
        (None, None, True),
        (Zone.CLOUD, "far", True),
        (Zone.LOCAL, "far", False),
        (Zone.LOCAL, None, False),
        (Zone.LOCAL, "near", True),
        (Zone.LOCAL, "builtin", True),
        (Zone.LOCAL, "yet to begin", False),
    ],
)
def test_a_key_reaches_no_embedder_beyond_its_zone(
    key_zone: Zone | None, collection: str | None, may: bool
) -> None:
    library: Any = Holding(far="count@far", near="count@near", builtin="builtin")
    key = Key(id="k", name="ana", prefix="", created=0.0, max_zone=key_zone)

    async def story(embedding: Embedding) -> bool:
        try:
            await embedding.require_near(library, key, collection)
        except Forbidden:
            return False
        return True

    assert told(story)[0] is may
