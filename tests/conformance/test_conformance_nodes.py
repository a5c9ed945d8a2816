"""What every kind of node promises, whatever it speaks: see casona.nodes.base.Node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.speakers import SPEAKERS, Speaker, joined
from tests.engine.engine_house import busy_slots, engine
from tests.scripted_node import (
    CLOSE,
    RESET,
    STREAM_END,
    STREAM_HEAD,
    Script,
    ScriptedNode,
    bytewise,
    chunk,
    streamed,
    until,
    whole,
)

from casona.engine.node import EngineNode
from casona.exchange.errors import (
    CasonaError,
    NodeFailed,
    NodeRefused,
    NodeTimedOut,
    PromptTooLong,
)
from casona.exchange.events import (
    Event,
    Finished,
    Started,
    Text,
    Thinking,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
)
from casona.exchange.request import ChatRequest, Output, Sampling, TextPart, Turn
from casona.nodes.base import Node
from casona.settings import Timeouts

HELLO = (Turn(role="user", parts=(TextPart(text="Hello"),)),)
ASKED = ChatRequest(model="m", turns=HELLO)
SPENT = Usage(prompt_tokens=21, completion_tokens=9)
THOUGHT, WORDS = "¿Qué pide? 🤔", '¡Hola, señor! 🏠 \\ "x" \n\n data: [DONE]'
ARGUMENTS = '{"city": "Ávila", "when": ["hoy", {"à": null}]}'


@pytest.fixture(params=SPEAKERS.values(), ids=SPEAKERS.keys())
def speaker(request: pytest.FixtureRequest) -> Speaker:
    found: Speaker = request.param
    return found


@asynccontextmanager
async def connected(
    speaker: Speaker, *scripts: Script, **timeouts: Any
) -> AsyncIterator[tuple[ScriptedNode, Node]]:
    async with ScriptedNode(*scripts) as scripted:
        node = speaker.connect(scripted.url, **({"pool_idle_s": 600} | timeouts))
        yield scripted, node
        await node.close()


async def told(node: Node, request: ChatRequest = ASKED) -> list[Event]:
    """Every event of one answer but its start. What holds for all: Started first, Finished last."""
    events = [event async for event in node.chat(request)]
    assert [isinstance(event, Started) for event in events] == [True] + [False] * (len(events) - 1)
    assert [isinstance(event, Finished) for event in events] == [False] * (len(events) - 1) + [True]
    assert "" not in [event.text for event in events if isinstance(event, Text | Thinking)]
    return joined(events)[1:]


def round_of(speaker: Speaker) -> bytes:
    """Thinking, text, two tool calls, the end with usage."""
    return b"".join(
        [
            speaker.thinking(THOUGHT),
            speaker.text(WORDS[:3]),
            speaker.text(WORDS[3:]),
            speaker.call(0, "call_a", "weather", ARGUMENTS),
            speaker.call(1, "call_b", "clock", "{}"),
            speaker.end("tool", SPENT),
        ]
    )


ROUND = [
    Thinking(THOUGHT),
    Text(WORDS),
    ToolCallStarted(0, "call_a", "weather"),
    ToolCallArguments(0, ARGUMENTS),
    ToolCallStarted(1, "call_b", "clock"),
    ToolCallArguments(1, "{}"),
    Finished(reason="tool", usage=SPENT),
]


async def test_an_answer_is_the_same_in_one_piece_and_cut_at_every_byte(speaker: Speaker) -> None:
    wire = round_of(speaker)
    until_eof: Script = [b"HTTP/1.1 200 OK\r\n\r\n", *bytewise(wire), CLOSE]
    async with connected(speaker, streamed([wire]), streamed(bytewise(wire)), until_eof) as (_, node):
        for _ in range(3):
            assert await told(node) == ROUND


async def test_an_answer_is_the_same_when_cut_in_two_at_any_byte(speaker: Speaker) -> None:
    wire = speaker.text("ñ🏠") + speaker.call(0, "c", "f", '{"é":1}') + speaker.end("tool", SPENT)
    cuts = [streamed([wire[:at], wire[at:]]) for at in range(1, len(wire), 7)]
    async with connected(speaker, *cuts) as (_, node):
        for _ in cuts:
            assert (await told(node))[0] == Text("ñ🏠")


@pytest.mark.parametrize("reason", ["end", "length"])
async def test_an_answer_says_why_it_ended(speaker: Speaker, reason: Any) -> None:
    async with connected(speaker, streamed([speaker.text("Hi") + speaker.end(reason, SPENT)])) as (_, node):
        assert await told(node) == [Text("Hi"), Finished(reason=reason, usage=SPENT)]


async def test_usage_that_a_node_does_not_tell_is_estimated_and_says_so(speaker: Speaker) -> None:
    wire = speaker.text("Hi") + speaker.text(" there") + speaker.end("end", None)
    async with connected(speaker, streamed([wire])) as (_, node):
        assert (await told(node))[-1] == Finished(
            reason="end", usage=Usage(completion_tokens=2, counted="estimate")
        )


async def test_each_event_is_given_as_soon_as_it_is_there(speaker: Speaker) -> None:
    go_on = asyncio.Event()
    script = [STREAM_HEAD, chunk(speaker.text("one")), go_on, chunk(speaker.end("end", SPENT)), STREAM_END]
    async with connected(speaker, script) as (_, node), aclosing(node.chat(ASKED)) as events:
        assert isinstance(await anext(events), Started)
        assert await anext(events) == Text("one")
        go_on.set()
        assert isinstance([event async for event in events][-1], Finished)


def deaths(speaker: Speaker) -> list[tuple[str, Script]]:
    one, half = speaker.text("one"), speaker.text("ñ")
    places = {
        "before anything": b"",
        "between events": one,
        "within an event": one + half[: len(half) // 2],
        "within a character": one + half[: half.index("ñ".encode()) + 1],
    }
    return [
        (f"{place}, {how}", [head, *([chunk(wire) if head is STREAM_HEAD else wire] if wire else []), end])
        for place, wire in places.items()
        for how, head, end in (
            ("closed", STREAM_HEAD, CLOSE),
            ("reset", STREAM_HEAD, RESET),
            ("ended well", STREAM_HEAD, STREAM_END),
            ("without a length", b"HTTP/1.1 200 OK\r\n\r\n", CLOSE),
        )
    ]


async def test_a_node_that_dies_in_its_answer_has_failed_wherever_it_was(speaker: Speaker) -> None:
    for where, script in deaths(speaker):
        async with connected(speaker, script) as (_, node):
            with pytest.raises(NodeFailed):
                pytest.fail(f"{where}: {await told(node)}")


async def test_what_came_before_a_death_is_given(speaker: Speaker) -> None:
    events = []
    async with connected(speaker, [STREAM_HEAD, chunk(speaker.text("one")), RESET]) as (_, node):
        with pytest.raises(NodeFailed):
            async for event in node.chat(ASKED):
                events.append(event)
    assert events[1:] in ([Text("one")], [])  # a reset may overtake what was under way


async def test_an_error_in_the_stream_is_a_failure_with_its_words(speaker: Speaker) -> None:
    script = streamed([speaker.text("Hi"), speaker.error("out of memory")])
    async with connected(speaker, script) as (_, node):
        with pytest.raises(NodeFailed, match=r"^the node answered with an error: out of memory$"):
            await told(node)


async def test_closing_the_generator_closes_the_connection_at_once(speaker: Speaker) -> None:
    script = [STREAM_HEAD, chunk(speaker.text("one")), asyncio.Event()]
    async with connected(speaker, script) as (scripted, node):
        events = node.chat(ASKED)
        assert isinstance(await anext(events), Started)
        await events.aclose()
        await scripted.received[0].left.wait()


async def test_cancelling_before_the_answer_closes_the_connection_at_once(speaker: Speaker) -> None:
    async with connected(speaker, [asyncio.Event()]) as (scripted, node):
        asking = asyncio.ensure_future(told(node))
        await until(lambda: scripted.received)
        asking.cancel()
        await scripted.received[0].left.wait()


async def test_an_answer_read_to_its_end_keeps_the_connection(speaker: Speaker) -> None:
    wire = speaker.text("Hi") + speaker.end("end", SPENT)
    async with connected(speaker, [STREAM_HEAD, chunk(wire), STREAM_END]) as (scripted, node):
        for _ in range(3):
            await told(node)
            await until(lambda: len(node.pool._idle) == 1)  # type: ignore[attr-defined]
        assert scripted.connections == 1
        assert {request.path for request in scripted.received} == {speaker.path}


REFUSALS: list[tuple[bytes, type[CasonaError], int, str]] = [
    (b"400 Bad Request", NodeRefused, 400, "no such thing"),
    (b"413 Too Large", NodeRefused, 413, "no such thing"),
    (b"422 Unprocessable", NodeRefused, 422, "no such thing"),
    (b"429 Too Many", NodeRefused, 429, "no such thing"),
    (b"401 Unauthorized", NodeFailed, 502, "node 'box' refused the key that the settings give for it"),
    (b"403 Forbidden", NodeFailed, 502, "node 'box' refused the key that the settings give for it"),
    (b"404 Not Found", NodeFailed, 502, "node 'box' answered 404: no such thing"),
    (b"500 Oops", NodeFailed, 502, "node 'box' answered 500: no such thing"),
    (b"302 Found", NodeFailed, 502, "node 'box' answered 302: no such thing"),
]


@pytest.mark.parametrize(("status", "error", "ours", "words"), REFUSALS)
async def test_a_refusal_is_the_callers_only_if_it_can_act_on_it(
    speaker: Speaker, status: bytes, error: type[CasonaError], ours: int, words: str
) -> None:
    async with connected(speaker, [whole(speaker.refusal("no such thing"), status=status)]) as (_, node):
        with pytest.raises(CasonaError) as caught:
            await told(node)
    assert (type(caught.value), caught.value.status, str(caught.value)) == (error, ours, words)


@pytest.mark.parametrize("said", [b"", b"<html>Bad gateway</html>", b"[]", b'{"error":null}', b"\xff\xfe"])
async def test_a_broken_node_fails_in_our_words_only(speaker: Speaker, said: bytes) -> None:
    for script in (
        [whole(said)],
        [whole(b"data: " + said + b"\n\n")],
        [whole(said + b"\n")],
        [whole(said, status=b"502 Bad Gateway")],
    ):
        async with connected(speaker, script) as (_, node):
            with pytest.raises(NodeFailed):
                await told(node)
            for ask in (node.models(), node.embed("m", ["a"])):
                with pytest.raises(NodeFailed):
                    await ask


async def test_a_silent_node_has_timed_out(speaker: Speaker) -> None:
    script = [STREAM_HEAD, chunk(speaker.text("one")), asyncio.Event()]
    async with connected(speaker, script, idle_s=0.05) as (_, node):
        with pytest.raises(NodeTimedOut, match=r"^node 'box' stopped in its answer for 0.05 s$"):
            await told(node)


async def test_a_node_that_is_gone_has_failed(speaker: Speaker) -> None:
    async with ScriptedNode([]) as scripted:
        pass
    node = speaker.connect(scripted.url)
    with pytest.raises(NodeFailed, match=r"^node 'box' can't be reached: "):
        await told(node)


# --- the engine: the same promises, held by real llama.cpp on a tiny model


@asynccontextmanager
async def tiny_engine(home: Path, gguf: Path) -> AsyncIterator[EngineNode]:
    async with engine(home, gguf) as house:
        node = EngineNode(house, Timeouts())
        yield node
        await node.close()


def asked(**fields: Any) -> ChatRequest:
    plain = {"model": "tiny", "turns": HELLO, "output": Output(max_tokens=8), "sampling": Sampling(seed=1)}
    return ChatRequest(**(plain | fields))


async def test_the_engine_answers_and_counts(tiny_gguf: Path, tmp_path: Path) -> None:
    async with tiny_engine(tmp_path, tiny_gguf) as node:
        *said, finished = await told(node, asked())
        assert [type(event) for event in said] == [Text]
        assert isinstance(finished, Finished)
        assert finished.reason == "length"
        assert (finished.usage.completion_tokens, finished.usage.counted) == (8, "node")
        assert finished.usage.prompt_tokens > 0
        assert [event.text for event in said] == [
            event.text for event in (await told(node, asked()))[:-1] if isinstance(event, Text)
        ]


async def test_the_engine_stops_when_the_generator_is_closed(tiny_gguf: Path, tmp_path: Path) -> None:
    async with tiny_engine(tmp_path, tiny_gguf) as node:
        events = node.chat(asked(output=Output(max_tokens=1900)))
        assert isinstance(await anext(events), Started)
        await events.aclose()
        lease = await node.engine.acquire("tiny")
        async with asyncio.timeout(1):
            while await asyncio.to_thread(busy_slots, lease):
                pass
        lease.release()


async def test_the_engine_refuses_in_our_words(tiny_gguf: Path, tmp_path: Path) -> None:
    long = (Turn(role="user", parts=(TextPart(text="x y " * 2000),)),)
    async with tiny_engine(tmp_path, tiny_gguf) as node:
        with pytest.raises(PromptTooLong) as caught:
            await told(node, asked(turns=long))
        assert caught.value.context_tokens == 2048 < caught.value.prompt_tokens
        with pytest.raises(CasonaError, match="no model 'huge'"):
            await told(node, asked(model="huge"))
