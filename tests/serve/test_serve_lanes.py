"""One chat request from the desk to scripted nodes and back, in both lanes."""

import asyncio
import json
from typing import Any

import pytest
from tests.scripted_node import CLOSE, RESET, Script, ScriptedNode, as_json, streamed, until, whole
from tests.serve.conftest import KEY, desk_over

from casona import lanes, serve
from casona.dialects.openai_chat import OpenAIChat
from casona.exchange.errors import BadRequest, Forbidden, NodeFailed, NodeRefused, NoNodeReady
from casona.exchange.keys import Key
from casona.exchange.zones import Zone
from casona.settings import Model

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
WHOLE = {
    "id": "x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}


def event(delta: dict[str, Any], reason: str | None = None) -> bytes:
    return (
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}).encode()
        + b"\n\n"
    )


GREETING = event({"role": "assistant", "content": ""})
HELLO = event({"content": "Hello"})
STOP = event({}, "stop")
COUNT = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
FINE = streamed([GREETING, HELLO, STOP, COUNT, DONE])
BUSY = as_json({"error": {"message": "out of memory"}}, status=b"500 Internal Server Error")
LANES = pytest.mark.parametrize("translate", [False, True], ids=["relayed", "translated"])


def text_of(stream: str) -> str:
    """The answer's text in a stream of OpenAI's chunks."""
    events = [line.removeprefix("data: ") for line in stream.split("\n\n") if line.startswith("data: {")]
    deltas = [choice["delta"] for event in events for choice in json.loads(event).get("choices", [])]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_a_whole_answer_is_relayed_byte_for_byte_and_recorded() -> None:
    async with ScriptedNode(as_json(WHOLE)) as node, desk_over(node) as bench:
        answer = await bench.ask(future={"x": 1})
        assert answer.body == json.dumps(WHOLE).encode()
        assert node.received[0].json["future"] == {"x": 1}
    [row] = bench.rows
    assert (row.key_id, row.model, row.node, row.zone, row.route) == ("k1", "m", "a", "local", "openai.chat")
    assert (row.prompt_tokens, row.completion_tokens, row.counted) == (5, 2, "node")
    assert (row.ended, row.status) == ("done", 200)
    assert 0 < row.first_token_ms <= row.total_ms


@LANES
async def test_a_stream_passes_without_the_usage_that_was_not_asked_for(translate: bool) -> None:
    async with ScriptedNode(FINE) as node, desk_over(node, translate=translate) as bench:
        told = await bench.stream()
        assert (text_of(told), "usage" in told, told[-14:]) == ("Hello", False, "data: [DONE]\n\n")
        assert node.received[0].json["stream_options"] == {"include_usage": True}
    [row] = bench.rows
    assert (row.prompt_tokens, row.completion_tokens, row.counted, row.ended) == (5, 2, "node", "done")


@LANES
async def test_a_stream_ends_with_usage_when_it_was_asked_for(translate: bool) -> None:
    async with ScriptedNode(FINE) as node, desk_over(node, translate=translate) as bench:
        told = await bench.stream(stream_options={"include_usage": True})
    last = json.loads(told.split("\n\n")[-3].removeprefix("data: "))
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 7)


@LANES
@pytest.mark.parametrize("stream", [False, True])
async def test_a_node_that_fails_before_content_is_replaced_by_another(translate: bool, stream: bool) -> None:
    # a translated answer is streamed from the node, whoever asked for it whole
    fine, again = (FINE if streams or translate else as_json(WHOLE) for streams in (stream, False))
    async with (
        ScriptedNode(BUSY) as a,
        ScriptedNode(fine, again) as b,
        desk_over(a, b, translate=translate) as bench,
    ):
        answer = await bench.ask(stream=stream)
        assert answer.tally.place
        assert answer.tally.place.state.name == "b"
        if not isinstance(answer.body, bytes):
            assert [piece async for piece in answer.body]
        assert (len(a.received), len(b.received)) == (1, 1)
        await bench.ask()
        assert len(a.received) == 1, "a node that failed rests"


@LANES
async def test_a_node_that_only_greets_and_dies_is_replaced_by_another(translate: bool) -> None:
    dying = streamed([GREETING], RESET)
    async with (
        ScriptedNode(dying) as a,
        ScriptedNode(FINE) as b,
        desk_over(a, b, translate=translate) as bench,
    ):
        told = await bench.stream()
        assert text_of(told) == "Hello"
        assert told.count('"role"') == 1


@LANES
@pytest.mark.parametrize(
    "cut", [b"", b'data: {"choi', 'data: {"choices":[{"delta":{"content":"é'.encode()[:-1]]
)
async def test_a_node_that_dies_in_the_middle_ends_the_stream_with_an_error(
    translate: bool, cut: bytes
) -> None:
    dying = streamed([GREETING, HELLO, *([cut] if cut else [])], CLOSE)
    async with (
        ScriptedNode(dying) as a,
        ScriptedNode(FINE) as b,
        desk_over(a, b, translate=translate) as bench,
    ):
        told = await bench.stream()
        *_, last, end = told.split("\n\n")
        assert (text_of(told), end) == ("Hello", "")
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "api_error"
        assert b.received == []
    [row] = bench.rows
    assert (row.ended, row.status, row.completion_tokens, row.counted) == ("error", 502, 1, "estimate")


@LANES
async def test_a_nodes_own_refusal_is_the_answer_and_nobody_else_is_asked(translate: bool) -> None:
    refusal = {
        "error": {"message": "max_tokens is too large", "type": "x", "param": "max_tokens", "code": "y"}
    }
    async with (
        ScriptedNode(as_json(refusal, status=b"400 Bad Request")) as a,
        ScriptedNode(FINE) as b,
        desk_over(a, b, translate=translate) as bench,
    ):
        for stream in (False, True):
            with pytest.raises(NodeRefused, match="max_tokens is too large") as refused:
                await bench.ask(stream=stream)
            assert (refused.value.status, refused.value.param) == (400, "max_tokens")
            assert translate or json.loads(refused.value.body) == refusal
        assert b.received == []
    assert [(row.ended, row.status) for row in bench.rows] == [("refused", 400)] * 2


async def test_a_nodes_refused_key_is_our_trouble_not_the_clients() -> None:
    refusal = as_json({"error": {"message": "bad key sk-secret"}}, status=b"401 Unauthorized")
    async with ScriptedNode(refusal) as node, desk_over(node) as bench:
        with pytest.raises(NodeFailed, match="refused the key that the settings give") as failed:
            await bench.ask()
    assert (failed.value.status, "sk-secret" in str(failed.value)) == (502, False)


async def test_a_slow_stream_begins_with_pings_and_fails_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "COMMIT_S", 0.01)
    hold = asyncio.Event()
    async with ScriptedNode([hold, CLOSE]) as node, desk_over(node) as bench:
        answer = await bench.ask(stream=True)
        assert not isinstance(answer.body, bytes)
        pieces = answer.body
        assert [await anext(pieces), await anext(pieces)] == [b": ping\n\n"] * 2
        hold.set()
        rest = [piece async for piece in pieces]
        assert rest[-1].startswith(b'data: {"error":{"message":"node \'a\' closed the connection')
    assert [(row.ended, row.status) for row in bench.rows] == [("error", 502)]


@LANES
async def test_leaving_a_stream_closes_the_connection_to_the_node(translate: bool) -> None:
    hold = asyncio.Event()
    endless = [*streamed([GREETING, HELLO])[:-1], hold]
    async with ScriptedNode(endless) as node, desk_over(node, translate=translate) as bench:
        answer = await bench.ask(stream=True)
        assert not isinstance(answer.body, bytes)
        await anext(answer.body)
        await answer.body.aclose()
        await until(node.received[0].left.is_set)
        assert bench.desk.catalog.states[0].in_flight == 0
    [row] = bench.rows
    assert (row.ended, row.completion_tokens, row.counted) == ("hang_up", 1, "estimate")


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_before_the_first_byte_closes_the_connection_too(stream: bool) -> None:
    hold = asyncio.Event()
    async with ScriptedNode([hold]) as node, desk_over(node) as bench:
        asking = asyncio.create_task(bench.ask(stream=stream))
        await until(lambda: node.received)
        asking.cancel()
        await until(node.received[0].left.is_set)
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert bench.desk.catalog.states[0].in_flight == 0
    assert [row.ended for row in bench.rows] == ["hang_up"]


async def test_a_model_in_the_cloud_is_not_reached_unless_allowed() -> None:
    async with ScriptedNode(as_json(WHOLE)) as node:
        async with desk_over(node, zones=(Zone.CLOUD,)) as bench:
            with pytest.raises(Forbidden, match="runs in the zone 'cloud'"):
                await bench.ask()
        async with desk_over(node, zones=(Zone.CLOUD,), max_zone=Zone.CLOUD) as bench:
            strict = Key(id="k2", name="eva", prefix="csn-", created=0.0, max_zone=Zone.LOCAL)
            with pytest.raises(Forbidden, match="no further than 'local'"):
                await bench.ask(key=strict)
            assert node.received == []
            await bench.ask()
    assert len(node.received) == 1


async def test_a_key_for_other_models_is_refused() -> None:
    key = Key(id="k2", name="eva", prefix="csn-", created=0.0, models=("other",))
    async with ScriptedNode(as_json(WHOLE)) as node, desk_over(node) as bench:
        with pytest.raises(Forbidden, match="may not use the model 'm'"):
            await bench.ask(key=key)
        assert node.received == []


async def test_a_fallback_is_asked_only_when_its_betters_fail() -> None:
    names = {"assistant": Model(serve=("m@b",), fallback=("m@a",))}
    async with (
        ScriptedNode(as_json(WHOLE)) as a,
        ScriptedNode(BUSY) as b,
        desk_over(a, b, names=names) as bench,
    ):
        await bench.ask(model="assistant")
        assert (len(a.received), len(b.received)) == (1, 1)
        assert a.received[0].json["model"] == "m"


async def test_when_all_fail_the_last_fault_is_told() -> None:
    async with ScriptedNode(BUSY) as a, ScriptedNode(BUSY) as b, desk_over(a, b) as bench:
        with pytest.raises(NodeFailed, match="node 'b' answered 500: out of memory"):
            await bench.ask()


async def test_the_house_itself_may_ask_and_is_recorded_like_anybody() -> None:
    from casona.exchange.events import Finished, Text, Usage
    from casona.exchange.request import ChatRequest, TextPart, Turn
    from casona.tally import Call

    asked = ChatRequest(model="m", turns=(Turn(role="user", parts=(TextPart(text="hi"),)),))
    async with ScriptedNode(BUSY) as a, ScriptedNode(FINE) as b, desk_over(a, b) as bench:
        told = [event async for event in bench.desk.events(Call("req_1", KEY, "rag.query", b""), asked)]
    assert told[0] == Text("Hello")
    assert told[-1] == Finished(reason="end", usage=Usage(prompt_tokens=5, completion_tokens=2))
    assert [(row.route, row.node, row.ended) for row in bench.rows] == [("rag.query", "b", "done")]


async def test_no_node_that_can_be_asked_is_told_as_such() -> None:
    async with ScriptedNode(as_json({})) as node:
        pass
    async with desk_over(node, models=()) as bench:
        with pytest.raises(NoNodeReady, match="no node can be reached to ask for 'other'"):
            await bench.ask(model="other")


async def test_a_field_of_the_wrong_kind_reaches_no_node() -> None:
    async with ScriptedNode(as_json(WHOLE)) as node, desk_over(node) as bench:
        with pytest.raises(BadRequest):
            await bench.ask(temperature="hot")
        assert node.received == []
    assert [(row.ended, row.status) for row in bench.rows] == [("refused", 400)]


@pytest.mark.parametrize("url", ["http://10.0.0.1/admin", "file:///etc/passwd"])
async def test_no_node_of_ours_is_made_to_fetch_an_address(url: str) -> None:
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    async with ScriptedNode(as_json(WHOLE)) as node, desk_over(node) as bench:
        with pytest.raises(BadRequest, match="are not fetched here") as refused:
            await bench.ask(messages=picture)
        assert refused.value.param == "messages[0].content[0].image_url"
        assert node.received == []


async def test_a_nodes_own_error_in_its_stream_passes_and_is_recorded() -> None:
    trouble = b'data: {"error":{"message":"out of memory","code":500}}\n\n'
    async with ScriptedNode(streamed([GREETING, HELLO, trouble])) as node, desk_over(node) as bench:
        told = await bench.stream()
        assert told.endswith(trouble.decode())
    assert [(row.ended, row.status) for row in bench.rows] == [("error", 502)]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fault_of_our_own_is_recorded_as_one(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError

    async with ScriptedNode(FINE) as node, desk_over(node) as bench:
        monkeypatch.setattr(bench.desk.catalog.states[0].node, "relay", breaks)
        with pytest.raises(ZeroDivisionError):
            await bench.ask(stream=stream)
        assert bench.desk.catalog.states[0].in_flight == 0
    assert [(row.ended, row.status) for row in bench.rows] == [("error", 500)]


async def test_a_fault_of_our_own_in_a_stream_is_recorded_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = asyncio.Event()
    node_says = [*streamed([GREETING, HELLO])[:-1], hold, *streamed([STOP, DONE])[1:]]
    async with ScriptedNode(node_says) as node, desk_over(node) as bench:
        answer = await bench.ask(stream=True)
        assert not isinstance(answer.body, bytes)
        assert [await anext(answer.body)] == [GREETING + HELLO]
        monkeypatch.setattr(lanes.StreamWatch, "feed", lambda *_: 1 / 0)
        hold.set()
        with pytest.raises(ZeroDivisionError):
            await anext(answer.body)
    assert [(row.ended, row.status) for row in bench.rows] == [("error", 500)]


@LANES
async def test_a_stream_that_is_closed_before_it_was_read_closes_the_connection_too(translate: bool) -> None:
    endless = [*streamed([GREETING, HELLO])[:-1], asyncio.Event()]
    async with ScriptedNode(endless) as node, desk_over(node, translate=translate) as bench:
        answer = await bench.ask(stream=True)
        assert not isinstance(answer.body, bytes)
        await answer.body.aclose()
        await until(node.received[0].left.is_set)
        assert bench.desk.catalog.states[0].in_flight == 0
    assert [row.ended for row in bench.rows] == ["hang_up"]


@LANES
@pytest.mark.parametrize("end", [DONE, b""], ids=["with [DONE]", "without"])
async def test_usage_is_settled_before_the_last_byte_and_who_leaves_then_has_left_a_finished_answer(
    translate: bool, end: bytes
) -> None:
    everything = streamed([GREETING + HELLO + STOP + COUNT + end])
    async with ScriptedNode(everything) as node, desk_over(node, translate=translate) as bench:
        answer = await bench.ask(stream=True)
        assert not isinstance(answer.body, bytes)
        async for piece in answer.body:
            if DONE in piece:
                assert [row.ended for row in bench.rows] == ["done"]
                break
        await answer.body.aclose()
    assert [(row.ended, row.completion_tokens) for row in bench.rows] == [("done", 2)]


async def test_an_error_that_a_node_sends_in_its_stream_is_recorded() -> None:
    broken = streamed([GREETING, HELLO, b'data: {"error":{"message":"out of memory"}}\n\n', DONE])
    async with ScriptedNode(broken) as node, desk_over(node) as bench:
        assert "out of memory" in await bench.stream()
    assert [(row.ended, row.status) for row in bench.rows] == [("error", 502)]


@pytest.mark.parametrize(
    "nonsense",
    [[whole(b"<html>It works!</html>")], as_json({"error": {"message": "overloaded"}}), as_json([])],
    ids=["a page", "an error", "a list"],
)
async def test_what_is_no_answer_is_not_passed_on_as_one(nonsense: Script) -> None:
    async with ScriptedNode(nonsense) as a, ScriptedNode(as_json(WHOLE)) as b, desk_over(a, b) as bench:
        assert (await bench.ask()).body == json.dumps(WHOLE).encode()
    async with ScriptedNode(nonsense) as a, desk_over(a) as bench:
        with pytest.raises(NodeFailed):
            await bench.ask()


@LANES
@pytest.mark.parametrize("stream", [False, True])
async def test_a_busy_nodes_time_to_come_again_is_passed_on(translate: bool, stream: bool) -> None:
    busy = [
        whole(b'{"error":{"message":"slow down"}}', status=b"429 Too Many", headers=b"Retry-After: 7\r\n")
    ]
    async with ScriptedNode(busy) as node, desk_over(node, translate=translate) as bench:
        with pytest.raises(NodeRefused) as refused:
            await bench.ask(stream=stream)
    assert (refused.value.status, OpenAIChat().error_headers(refused.value)) == (429, {"retry-after": "7"})


@LANES
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_node_says_in_its_error_is_told_but_not_logged(
    translate: bool, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    quoting = as_json({"error": {"message": "can't parse: my secret"}}, status=b"500 Internal Server Error")
    caplog.set_level("DEBUG")
    async with ScriptedNode(quoting) as node, desk_over(node, translate=translate) as bench:
        with pytest.raises(NodeFailed, match="my secret"):
            await bench.ask(stream=stream)
        assert bench.desk.catalog.states[0].trouble == "node 'a' answered 500"
    assert "node 'a' answered 500" in caplog.text
    assert "secret" not in caplog.text


@LANES
async def test_where_a_node_counts_nothing_the_records_estimate_and_say_so(translate: bool) -> None:
    uncounted = {name: value for name, value in WHOLE.items() if name != "usage"}
    whole_answer = streamed([GREETING, HELLO, STOP, DONE]) if translate else as_json(uncounted)
    async with (
        ScriptedNode(whole_answer, streamed([GREETING, HELLO, STOP, DONE])) as node,
        desk_over(node, translate=translate) as bench,
    ):
        question = [{"role": "user", "content": [{"type": "text", "text": "twelve signs"}]}]
        await bench.ask(messages=question)
        await bench.stream(messages=question)
    whole, stream = bench.rows
    assert {row.counted for row in bench.rows} == {"estimate"}
    assert stream.prompt_tokens == 3
    assert (stream.completion_tokens, whole.completion_tokens > 0) == (2 if not translate else 1, True)
