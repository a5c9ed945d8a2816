"""Embeddings on nodes that speak another dialect."""

import base64
import json
import struct

import msgspec
import pytest
from tests.scripted_node import ScriptedNode, as_json
from tests.serve.conftest import KEY, desk_over

from casona.dialects import openai_embeddings
from casona.exchange.errors import BadRequest
from casona.tally import Call

VECTORS = {
    "data": [{"index": 1, "embedding": [0.0, 1.0]}, {"index": 0, "embedding": [3.0, 4.0]}],
    "usage": {"prompt_tokens": 6, "total_tokens": 6},
}


def call(**body: object) -> Call:
    return Call("req_1", KEY, openai_embeddings.NAME, msgspec.json.encode({"model": "m", **body}))


async def test_a_node_of_the_same_dialect_gets_and_gives_the_bytes() -> None:
    async with ScriptedNode(as_json(VECTORS)) as node, desk_over(node) as bench:
        answer = await bench.desk.embed(call(input=["a", "b"], truncate_to=3))
        assert answer.body == json.dumps(VECTORS).encode()
        assert node.received[0].json == {"model": "m", "input": ["a", "b"], "truncate_to": 3}
    [row] = bench.rows
    assert (row.route, row.prompt_tokens, row.ended) == ("openai.embeddings", 6, "done")


async def test_vectors_are_cut_and_of_length_one_again() -> None:
    async with ScriptedNode(as_json(VECTORS)) as node, desk_over(node, translate=True) as bench:
        answer = await bench.desk.embed(call(input=["a", "b"], dimensions=1))
        assert isinstance(answer.body, bytes)
        assert json.loads(answer.body) == {
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [1.0]},
                {"object": "embedding", "index": 1, "embedding": [0.0]},
            ],
            "model": "m",
            "usage": {"prompt_tokens": 6, "total_tokens": 6},
        }


async def test_vectors_as_base64_are_little_endian_floats() -> None:
    async with ScriptedNode(as_json(VECTORS)) as node, desk_over(node, translate=True) as bench:
        answer = await bench.desk.embed(call(input=["a", "b"], encoding_format="base64"))
        assert isinstance(answer.body, bytes)
        first = json.loads(answer.body)["data"][0]["embedding"]
        assert struct.unpack("<2f", base64.b64decode(first)) == (3.0, 4.0)


async def test_tokens_for_a_node_that_takes_texts_are_refused() -> None:
    async with ScriptedNode(as_json(VECTORS)) as node, desk_over(node, translate=True) as bench:
        with pytest.raises(BadRequest, match="takes texts, not tokens"):
            await bench.desk.embed(call(input=[1, 2]))
        assert node.received == []
