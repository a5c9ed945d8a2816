"""What is OpenAI-compatible in name only, and what is told of its models."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.scripted_node import ScriptedNode, as_json, streamed, whole

from casona.exchange.errors import NodeFailed, NodeRefused
from casona.exchange.events import (
    ChoiceEnded,
    Event,
    Text,
    Thinking,
    ToolCallArguments,
    ToolCallStarted,
    Warned,
)
from casona.exchange.request import ChatRequest, Sampling
from casona.exchange.zones import Zone
from casona.nodes import openai
from casona.nodes.base import Embeddings, NodeModel
from casona.nodes.openai import OpenAINode, failure
from casona.nodes.openai_events import Reading
from casona.settings import Node, NodeKind, Timeouts


def events(*deltas: dict[str, Any], **fields: Any) -> list[Event]:
    """What these deltas of choice 0 mean, without the start."""
    reading = Reading()
    found: list[Event] = []
    for delta in deltas:
        chunk = {"id": "chatcmpl-9", "choices": [{"index": 0, "delta": delta} | fields]}
        found += reading.events(json.dumps(chunk).encode())
    return found[1:]


def call(index: int | None, call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def calling(*calls: Any) -> dict[str, Any]:
    return {"tool_calls": list(calls)}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_goes_by_two_names(field: str) -> None:
    assert events({field: "Hm."}) == [Thinking("Hm.")]


def test_a_refusal_is_text() -> None:
    assert events({"refusal": "No."}) == [Text("No.")]


TWO_CALLS = [
    ToolCallStarted(0, "a", "f"),
    ToolCallArguments(0, "{}"),
    ToolCallStarted(1, "b", "g"),
    ToolCallArguments(1, "{}"),
]


@pytest.mark.parametrize(
    "deltas",
    [
        [calling(call(0, "a", "f", "{}"), call(1, "b", "g", "{}"))],
        [calling(call(0, "a", "f", "{}")), calling(call(1, "b", "g", "{}"))],
        [calling(call(0, "a", "f", "{}"), call(0, "b", "g", "{}"))],
        [calling(call(0, "a", "f", "{}")), calling(call(0, "b", "g", "{}"))],
        [calling(call(None, "a", "f", "{}")), calling(call(None, "b", "g", "{}"))],
        [calling(call(3, "a", "f", "{}")), calling(call(7, "b", "g", "{}"))],
    ],
    ids=["together", "apart", "one index", "one index, apart", "no index", "odd indexes"],
)
def test_two_calls_are_two_however_they_are_numbered(deltas: Sequence[dict[str, Any]]) -> None:
    assert events(*deltas) == TWO_CALLS


def test_an_id_on_every_fragment_is_one_call() -> None:
    fragments = [calling(call(0, "a", "f", '{"x"')), calling(call(0, "a", None, ":1}"))]
    assert events(*fragments) == [
        ToolCallStarted(0, "a", "f"),
        ToolCallArguments(0, '{"x"'),
        ToolCallArguments(0, ":1}"),
    ]


def test_calls_without_ids_get_some_that_stay_the_same() -> None:
    deltas = calling(call(0, None, "f", ""), call(0, None, "g", None))
    expected = [
        ToolCallStarted(0, "call_chatcmpl-9_0_0", "f"),
        ToolCallStarted(1, "call_chatcmpl-9_0_1", "g"),
    ]
    assert events(deltas) == expected == events(deltas)


def test_arguments_given_as_an_object_become_text() -> None:
    assert events(calling(call(0, "a", "f", {"x": [1, "é"]})))[1] == ToolCallArguments(0, '{"x":[1,"é"]}')


def test_an_end_that_is_said_twice_is_one_end() -> None:
    assert events({}, {}, finish_reason="stop") == [ChoiceEnded("end")]


def test_an_answer_that_ends_with_an_error_is_a_failure() -> None:
    with pytest.raises(NodeFailed, match=r"^the node's answer broke off with an error$"):
        events({}, finish_reason="error")


def test_an_answer_of_which_one_choice_has_not_ended_has_broken_off() -> None:
    reading = Reading()
    choices = [{"index": at, "delta": {"content": "x"}} for at in (0, 1)]
    list(reading.events(json.dumps({"choices": choices}).encode()))
    list(reading.events(json.dumps({"choices": [{"index": 0, "finish_reason": "stop"}]}).encode()))
    with pytest.raises(NodeFailed, match="broke off before its end"):
        reading.finished()
    list(reading.events(json.dumps({"choices": [{"index": 1, "finish_reason": "length"}]}).encode()))
    assert reading.finished().reason == "length"


async def test_what_was_dropped_is_told_first() -> None:
    said = [{"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}]
    async with ScriptedNode(streamed(f"data: {json.dumps(one)}\n\n".encode() for one in said)) as scripted:
        node = node_at(scripted, kind=NodeKind.OPENAI)
        request = ChatRequest(model="m", sampling=Sampling(top_k=3))
        found = [event async for event in node.chat(request)]
        assert found[0] == Warned("top_k: this node does not know it, dropped")
        assert found[2] == Text("Hi")
        await node.close()


# --- models, embeddings, refusals


def node_at(scripted: ScriptedNode, **settings: Any) -> OpenAINode:
    described = Node(**({"name": "box", "kind": NodeKind.VLLM, "url": scripted.url} | settings))
    return openai.connect(described, Zone.PRIVATE, Timeouts())


async def test_models_with_what_servers_tell_of_them() -> None:
    rows = [
        {"id": "vllm", "max_model_len": 32768, "created": 5},
        {"id": "llamacpp", "meta": {"n_ctx_train": 8192}, "created": None},
        {"id": "plain", "meta": None},
        {"id": ""},
        "odd",
    ]
    async with ScriptedNode(paths={"/v1/models": as_json({"data": rows})}) as scripted:
        node = node_at(scripted)
        assert await node.models() == (
            NodeModel(name="vllm", zone=Zone.PRIVATE, context_tokens=32768, created=5),
            NodeModel(name="llamacpp", zone=Zone.PRIVATE, context_tokens=8192),
            NodeModel(name="plain", zone=Zone.PRIVATE),
        )
        await node.close()


async def test_models_named_by_the_settings_are_not_asked_for() -> None:
    async with ScriptedNode([whole(b"")]) as scripted:
        found = await node_at(scripted, models=("a", "b")).models()
        assert [model.name for model in found] == ["a", "b"]
        assert scripted.received == []


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_the_version_is_added_to_an_address_without_a_path(path: str) -> None:
    async with ScriptedNode(as_json({"data": []})) as scripted:
        node = node_at(scripted, url=scripted.url + path)
        await node.models()
        assert scripted.received[0].path == "/v1/models"
        await node.close()


async def test_embeddings_come_back_in_the_order_of_the_texts() -> None:
    rows = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    answer = as_json({"data": rows, "usage": {"prompt_tokens": 7}})
    async with ScriptedNode(answer) as scripted:
        node = node_at(scripted, api_key="sesame")
        assert await node.embed("m", ["a", "b"]) == Embeddings(vectors=[[1.0], [2.0]], prompt_tokens=7)
        request = scripted.received[0]
        assert request.json == {"model": "m", "input": ["a", "b"], "encoding_format": "float"}
        assert request.headers["authorization"] == "Bearer sesame"
        await node.close()


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"data": None},
        {"data": [{"index": "x", "embedding": [1.0]}]},
        {"data": [{"embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}], "usage": [3]},
        {"data": []},
    ],
)
async def test_embeddings_that_are_none_are_a_failure(answer: Any) -> None:
    async with ScriptedNode(as_json(answer)) as scripted:
        node = node_at(scripted)
        with pytest.raises(NodeFailed, match="embeddings"):
            await node.embed("m", ["a"])
        await node.close()


@pytest.mark.parametrize(
    ("body", "words", "param"),
    [
        (b'{"error":{"message":"too hot","param":"temperature"}}', "too hot", "temperature"),
        (b'{"error":"too hot"}', "too hot", None),
        (b'{"detail":[{"loc":["body"],"msg":"missing"}]}', "[{'loc': ['body'], 'msg': 'missing'}]", None),
        (b'{"message":"too hot"}', "too hot", None),
        (b"plain words", "plain words", None),
        (b"\xff", "�", None),
        (b"", "node 'box' refused the request", None),
    ],
)
def test_a_refusal_has_the_nodes_words_whatever_their_form(
    body: bytes, words: str, param: str | None
) -> None:
    refused = failure("box", 400, body, dialect="openai.chat")
    assert isinstance(refused, NodeRefused)
    assert (str(refused), refused.param, refused.status, refused.body) == (words, param, 400, body)
