"""An Ollama server as a node, over real sockets."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.nodes.ollama_server import calls, chat, done, line, says, server, show, tag
from tests.scripted_node import Script, ScriptedNode, as_json, streamed, whole

from casona.exchange.errors import BadRequest, CasonaError, NodeFailed, NodeRefused, PromptTooLong
from casona.exchange.events import (
    Event,
    Finished,
    LogProbs,
    Started,
    Text,
    Thinking,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
    Warned,
)
from casona.exchange.request import (
    ChatRequest,
    ImagePart,
    Reasoning,
    Sampling,
    TextPart,
    Tool,
    ToolChoice,
    Turn,
)
from casona.exchange.zones import Zone
from casona.nodes import ollama
from casona.nodes.base import Embeddings, NodeModel
from casona.nodes.ollama import OllamaNode
from casona.settings import Node, Timeouts

LLAMA = tag("llama3:8b")
HELLO = (Turn(role="user", parts=(TextPart(text="Hello"),)),)
SPENT = Usage(prompt_tokens=11, completion_tokens=3)


@asynccontextmanager
async def ollama_node(
    paths: Mapping[str, Script], *, zone: Zone = Zone.PRIVATE, **settings: Any
) -> AsyncIterator[tuple[ScriptedNode, OllamaNode]]:
    async with ScriptedNode(paths=paths) as scripted:
        described = Node(name="box", kind="ollama", **({"url": scripted.url} | settings))
        node = ollama.connect(described, zone, Timeouts())
        yield scripted, node
        await node.close()


async def answered(node: OllamaNode, **fields: Any) -> list[Event]:
    request = ChatRequest(**({"model": "llama3:8b", "turns": HELLO} | fields))
    return [event async for event in node.chat(request)]


async def told(script: Script, **fields: Any) -> list[Event]:
    """The events of one answer of the server."""
    async with ollama_node(server([LLAMA], chat=script)) as (_, node):
        return await answered(node, **fields)


def asked_for(scripted: ScriptedNode, path: str) -> list[Any]:
    return [request.json for request in scripted.received if request.path == path]


# --- answers


async def test_thinking_and_text() -> None:
    script = chat(says(thinking="Hm."), says("Hel"), says("lo"))
    assert await told(script) == [
        Started(model="llama3:8b"),
        Thinking("Hm."),
        Text("Hel"),
        Text("lo"),
        Finished(reason="end", usage=SPENT),
    ]


async def test_tool_calls_with_and_without_ids() -> None:
    script = chat(calls("weather", {"city": "Ávila"}, id="call_7"), calls("clock", {}))
    events = await told(script)
    assert events == [
        Started(model="llama3:8b"),
        ToolCallStarted(0, "call_7", "weather"),
        ToolCallArguments(0, '{"city": "Ávila"}'),
        ToolCallStarted(1, "call_20bac3d247f27781ce687cb1", "clock"),
        ToolCallArguments(1, "{}"),
        Finished(reason="tool", usage=SPENT),
    ]
    assert await told(script) == events


@pytest.mark.parametrize(("arguments", "text"), [('{"a":1}', '{"a":1}'), (None, "{}"), ("", "{}")])
async def test_arguments_that_are_no_object_become_the_text_of_one(arguments: Any, text: str) -> None:
    events = await told(chat(calls("f", arguments, id="c")))
    assert events[2] == ToolCallArguments(0, text)


@pytest.mark.parametrize(
    ("end", "finished"),
    [
        (done("length"), Finished(reason="length", usage=SPENT)),
        (done("load", prompt_eval_count=None, eval_count=None), Finished(reason="end", usage=Usage())),
        (done("unload", prompt_eval_count=None, eval_count=None), Finished(reason="end", usage=Usage())),
        (
            line(done=True, prompt_eval_count=1, eval_count=2),
            Finished(reason="end", usage=Usage(prompt_tokens=1, completion_tokens=2)),
        ),
        (
            line(done=True, prompt_eval_count=5),
            Finished(reason="end", usage=Usage(prompt_tokens=5, completion_tokens=1, counted="estimate")),
        ),
        (
            line(done=True, eval_count=4),
            Finished(reason="end", usage=Usage(completion_tokens=4, counted="estimate")),
        ),
    ],
)
async def test_how_it_ended_and_what_it_spent(end: bytes, finished: Finished) -> None:
    assert (await told(streamed([says("x"), end])))[-1] == finished


async def test_an_error_in_the_stream_is_a_failure_with_its_words() -> None:
    with pytest.raises(NodeFailed, match=r"^the node answered with an error: llama runner process has died$"):
        await told(streamed([says("Hel"), b'{"error":"llama runner process has died"}\n']))


async def test_an_answer_that_just_ends_is_a_failure() -> None:
    with pytest.raises(NodeFailed, match=r"^the node's answer broke off before its end$"):
        await told(streamed([says("Hel")]))


@pytest.mark.parametrize(
    "garbage", [b"<html>\n", b"[]\n", b'{"message": 3}\n', b'{"message":{"content":"\xff"}}\n']
)
async def test_a_line_that_can_not_be_read_is_a_failure(garbage: bytes) -> None:
    with pytest.raises(NodeFailed, match=r"^the node sent a line that can't be read: "):
        await told(streamed([garbage, done()]))


async def test_a_line_without_end_is_a_failure() -> None:
    with pytest.raises(NodeFailed, match=r"^the node sent a line without end$"):
        await told(streamed([b"x" * 2**20] * 18))


async def test_log_probabilities_pass() -> None:
    entries = [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}]
    events = await told(
        chat(line(message={"content": "Hi"}, logprobs=entries)), sampling=Sampling(logprobs=True)
    )
    assert events[1:3] == [Text("Hi"), LogProbs(entries)]
    assert not any(isinstance(event, Warned) for event in events)


async def test_log_probabilities_that_never_come_are_told() -> None:
    events = await told(chat(says("Hi")), sampling=Sampling(logprobs=True))
    assert Warned("logprobs: this Ollama server gives none; version 0.12.11 and later do") in events


async def test_what_was_dropped_is_told_first() -> None:
    events = await told(chat(says("Hi")), extras={"openai": {"verbosity": "low"}})
    assert events[0] == Warned("verbosity: an Ollama node does not know it, dropped")


# --- calls that must be made

TOOLS = (Tool(name="weather", schema={"type": "object"}), Tool(name="clock"))
MUST: dict[str, Any] = {"tools": TOOLS, "tool_choice": ToolChoice(mode="required")}


async def test_a_forced_call_is_read_out_of_the_text() -> None:
    script = chat(
        *(says(piece) for piece in ('{"name": "wea', 'ther", "argu', 'ments": {"b": 1.0,  "a": 2}}'))
    )
    events = await told(script, **MUST)
    assert events[1:] == [
        ToolCallStarted(0, events[1].id, "weather"),  # type: ignore[union-attr]
        ToolCallArguments(0, '{"b": 1.0,  "a": 2}'),
        Finished(reason="tool", usage=SPENT),
    ]


async def test_a_forced_call_that_the_server_itself_has_read_is_taken() -> None:
    events = await told(chat(says(""), calls("clock", {}, id="call_1")), **MUST)
    assert events[1:] == [
        ToolCallStarted(0, "call_1", "clock"),
        ToolCallArguments(0, "{}"),
        Finished(reason="tool", usage=SPENT),
    ]


@pytest.mark.parametrize("text", ["I would rather not.", '{"name": "x"}', '{"name": "x", "arguments": 3}'])
async def test_a_forced_call_that_is_not_made_is_a_failure(text: str) -> None:
    with pytest.raises(NodeFailed, match="made no tool call although it had to"):
        await told(chat(says(text)), **MUST)


async def test_a_forced_call_cut_by_the_token_limit_says_so() -> None:
    events = await told(streamed([says('{"name": "weath'), done("length")]), **MUST)
    assert events[1:] == [
        Warned("tool_choice: the token limit came before the tool call was complete"),
        Finished(reason="length", usage=SPENT),
    ]


# --- refusals


def refusing(status: bytes, words: str) -> Script:
    return [whole(b'{"error":"%b"}' % words.encode(), status=status)]


@pytest.mark.parametrize(
    ("script", "error", "status", "words"),
    [
        (
            refusing(b"400 Bad Request", "llama3 does not support tools"),
            NodeRefused,
            400,
            "llama3 does not support tools",
        ),
        (
            refusing(b"404 Not Found", "model 'x' not found"),
            NodeFailed,
            502,
            "node 'box' answered 404: model 'x' not found",
        ),
        (
            refusing(b"503 Service Unavailable", "server busy, please try again"),
            NodeFailed,
            502,
            "node 'box' answered 503: server busy, please try again",
        ),
        (
            refusing(b"401 Unauthorized", "unauthorized"),
            NodeFailed,
            502,
            "node 'box' refused the key that the settings give for it",
        ),
        (
            refusing(b"400 Bad Request", "the prompt exceeds the context length"),
            NodeRefused,
            400,
            "the prompt exceeds the context length",
        ),
    ],
)
async def test_a_refusal_keeps_its_words(
    script: Script, error: type[CasonaError], status: int, words: str
) -> None:
    with pytest.raises(CasonaError) as caught:
        await told(script)
    assert (type(caught.value), caught.value.status, str(caught.value)) == (error, status, words)


async def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers() -> None:
    words = "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it"
    with pytest.raises(PromptTooLong) as caught:
        await told(refusing(b"400 Bad Request", words))
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (9000, 4096)


async def test_images_for_a_model_without_eyes_are_refused() -> None:
    turns = (Turn(role="user", parts=(ImagePart(data=b"x", media_type="image/png"),)),)
    async with ollama_node(server([LLAMA], chat=chat(says("a cat")))) as (scripted, node):
        assert (await answered(node, turns=turns))[1] == Text("a cat")  # it has not said yet what it can do
        await node.models()
        with pytest.raises(BadRequest, match=r"^messages: this model takes no images$"):
            await answered(node, turns=turns)
        assert len(asked_for(scripted, "/api/chat")) == 1


# --- models


async def test_models_with_what_they_can_do() -> None:
    async with ollama_node(server([LLAMA], show("completion", "tools", "vision", "thinking"))) as (_, node):
        assert await node.models() == (
            NodeModel(
                name="llama3:8b",
                zone=Zone.PRIVATE,
                abilities=frozenset({"chat", "tools", "vision"}),
                created=1793613600,
            ),
        )


async def test_an_embedding_model_embeds_and_does_not_chat() -> None:
    async with ollama_node(server([tag("nomic-embed-text:latest")], show("embedding"))) as (_, node):
        assert [model.abilities for model in await node.models()] == [frozenset({"embed"})]


@pytest.mark.parametrize(
    ("name", "tagged", "shown"),
    [
        ("gpt-oss:120b-cloud", {}, {}),
        ("kimi-k2:cloud", {}, {}),
        ("mine:latest", {"remote_host": "https://ollama.com:443"}, {}),
        ("mine:latest", {"remote_model": "gpt-oss:120b"}, {}),
        ("mine:latest", {}, {"remote_host": "https://ollama.com:443"}),
    ],
)
async def test_a_model_that_runs_elsewhere_is_cloud(name: str, tagged: Any, shown: Any) -> None:
    paths = server([tag(name, **tagged), LLAMA], show("completion", **shown) if shown else show("completion"))
    async with ollama_node(paths, zone=Zone.LOCAL) as (_, node):
        assert (await node.models())[0].zone is Zone.CLOUD


async def test_a_model_is_shown_once_per_digest() -> None:
    paths = server([LLAMA, tag("qwen:7b")])
    async with ollama_node(paths) as (scripted, node):
        await node.models()
        await node.models()
        assert asked_for(scripted, "/api/show") == [{"model": "llama3:8b"}, {"model": "qwen:7b"}]
        paths["/api/tags"] = as_json({"models": [tag("llama3:8b", digest="f" * 64)]})
        await node.models()
        assert len(asked_for(scripted, "/api/show")) == 3


async def test_a_model_that_can_not_be_shown_is_listed_all_the_same() -> None:
    paths = server([LLAMA]) | {"/api/show": refusing(b"500 Oops", "broken manifest")}
    async with ollama_node(paths) as (_, node):
        assert [(model.name, model.abilities) for model in await node.models()] == [
            ("llama3:8b", frozenset())
        ]


async def test_only_the_settings_models_are_offered() -> None:
    paths = server([LLAMA, tag("qwen:latest"), tag("other:1b")])
    async with ollama_node(paths, models=("qwen", "llama3:8b", "gone")) as (_, node):
        assert [model.name for model in await node.models()] == ["qwen", "llama3:8b"]


@pytest.mark.parametrize("tags", [as_json({"models": None}), as_json([]), as_json({}), [whole(b"<html>")]])
async def test_a_list_that_is_none_is_a_failure(tags: Script) -> None:
    async with ollama_node(server([]) | {"/api/tags": tags}) as (_, node):
        with pytest.raises(NodeFailed, match=r"^node 'box' (gave no list of models|sent what is not JSON)"):
            await node.models()


async def test_odd_rows_do_no_harm() -> None:
    rows = [tag("a", details=None, modified_at="yesterday", digest=None), {}, 3, {"name": "b"}]
    shown = {"capabilities": "all", "model_info": [], "parameters": 3}
    async with ollama_node(server(rows, shown, loaded=[{}, 3])) as (_, node):
        assert [model.name for model in await node.models()] == ["a", "b"]


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/api", "/v1/"])
async def test_an_address_with_an_api_path_is_understood(suffix: str) -> None:
    async with ScriptedNode(paths=server([LLAMA])) as scripted:
        described = Node(name="box", kind="ollama", url=scripted.url + suffix, api_key="sesame")
        node = ollama.connect(described, Zone.PRIVATE, Timeouts())
        assert [model.name for model in await node.models()] == ["llama3:8b"]
        assert scripted.received[0].headers["authorization"] == "Bearer sesame"
        await node.close()


# --- context


async def contexts(paths: Mapping[str, Script], *wanted: int | None, **settings: Any) -> list[int | None]:
    """The `num_ctx` sent for requests that want these contexts, one after the other."""
    paths = {**paths, "/api/chat": chat(says("x"))}
    async with ollama_node(paths, **settings) as (scripted, node):
        await node.models()
        for context_tokens in wanted:
            await answered(node, context_tokens=context_tokens)
        return [body.get("options", {}).get("num_ctx") for body in asked_for(scripted, "/api/chat")]


CONFIGURED = show("completion", parameters='stop "<|eot|>"\nnum_ctx                        6000\n')


async def test_the_context_is_the_servers_own_unless_told() -> None:
    assert await contexts(server([LLAMA]), None) == [None]


async def test_the_context_is_one_for_all_requests() -> None:
    assert await contexts(server([LLAMA], CONFIGURED), None, 2048, 6000) == [6000, 6000, 6000]
    assert await contexts(server([LLAMA], CONFIGURED), None, context=4096) == [4096]


async def test_the_context_is_never_more_than_the_model_was_trained_for() -> None:
    assert await contexts(server([LLAMA], show("completion", context=8192)), None, context=32768) == [8192]


async def test_a_client_that_needs_more_makes_it_grow_for_good() -> None:
    assert await contexts(server([LLAMA], CONFIGURED), 8000, None, 100_000, 7000) == [8000, 8000, 8192, 8192]


async def test_a_clients_context_that_is_there_already_reloads_nothing() -> None:
    loaded = [{"model": "llama3:8b", "context_length": 4096}]
    assert await contexts(server([LLAMA], loaded=loaded), 2048, 4096, 8192) == [None, None, 8192]


@pytest.mark.parametrize(("count", "warned"), [(4095, False), (4096, True), (5000, True)])
async def test_a_prompt_at_the_limit_of_the_context_is_told(count: int, warned: bool) -> None:
    loaded = [{"model": "llama3:8b", "context_length": 4096}]
    script = streamed([says("x"), done(prompt_eval_count=count)])
    async with ollama_node(server([LLAMA], loaded=loaded, chat=script)) as (_, node):
        await node.models()
        found = [event for event in await answered(node) if isinstance(event, Warned)]
    words = "the prompt filled the model's whole context of 4096 tokens on this node and may have been cut; "
    assert found == ([Warned(words + "raise the node's `context` setting")] if warned else [])


async def test_thinking_is_asked_for_as_the_model_wants_it() -> None:
    gpt_oss = tag("gpt-oss:20b", details={"family": "gptoss"})
    paths = server([gpt_oss], show("completion", "thinking"), chat=chat(says("x")))
    async with ollama_node(paths) as (scripted, node):
        await node.models()
        await answered(node, model="gpt-oss:20b", reasoning=Reasoning(effort="low"))
        assert asked_for(scripted, "/api/chat")[0]["think"] == "low"


# --- embeddings


async def test_embeddings_are_never_cut() -> None:
    script = as_json({"embeddings": [[1.0, 2.0], [3.0, 4.0]], "prompt_eval_count": 5})
    async with ollama_node(server([], embed=script)) as (scripted, node):
        found = await node.embed("nomic", ["a", "b"])
        assert found == Embeddings(vectors=[[1.0, 2.0], [3.0, 4.0]], prompt_tokens=5)
        assert asked_for(scripted, "/api/embed") == [
            {"model": "nomic", "input": ["a", "b"], "truncate": False}
        ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"embeddings": [[1.0]]}, "gave 1 embeddings for 2 texts"),
        ({"embeddings": 3}, "can't be read"),
        ({"embeddings": [1.0, 2.0]}, "can't be read"),
        ([], "can't be read"),
    ],
)
async def test_embeddings_that_are_none_are_a_failure(answer: Any, words: str) -> None:
    async with ollama_node(server([], embed=as_json(answer))) as (_, node):
        with pytest.raises(NodeFailed, match=words):
            await node.embed("nomic", ["a", "b"])
