"""What the relay lane lets pass: whole events only, nothing before content, usage only to who asked."""

import json
from typing import Any

import pytest

from casona.exchange.errors import NodeFailed
from casona.exchange.events import Usage
from casona.nodes.openai_relay import StreamWatch, usage_of

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def event(**fields: Any) -> bytes:
    return f"data: {json.dumps({'id': 'x'} | fields, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def delta(reason: str | None = None, **content: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": content, "finish_reason": reason}])


GREETING = delta(role="assistant", content="")
HELLO = delta(content='¡Hola! 🏠 "usage" [DONE]')
WORLD = delta(content="mundo\n\n")
END = delta("stop")
USAGE = event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 2})
NULL_USAGE = event(choices=[{"index": 0, "delta": {"content": "x"}, "finish_reason": None}], usage=None)
PROGRESS = event(choices=[], prompt_progress={"total": 9, "processed": 4})
ERROR = event(error={"message": "out of memory"})

SPENT = Usage(prompt_tokens=5, completion_tokens=2)


def passed(pieces: list[bytes], *, wants_usage: bool = True) -> tuple[bytes, StreamWatch]:
    watch = StreamWatch(wants_usage=wants_usage)
    passing = b"".join([watch.feed(piece) for piece in pieces])
    return passing + watch.close(), watch


def cuts(stream: bytes) -> list[list[bytes]]:
    """In one piece, byte by byte, and in two pieces at every byte."""
    bytewise = [stream[at : at + 1] for at in range(len(stream))]
    return [[stream], bytewise, *([stream[:at], stream[at:]] for at in range(1, len(stream)))]


STREAMS: dict[str, tuple[bytes, bytes]] = {
    "plain": (
        GREETING + HELLO + WORLD + END + USAGE + DONE,
        GREETING + HELLO + WORLD + END + USAGE + DONE,
    ),
    "with progress": (PROGRESS * 2 + GREETING + HELLO + END + DONE, GREETING + HELLO + END + DONE),
    "with pings": (
        PING + GREETING + HELLO + PING + END + PING + DONE,
        GREETING + HELLO + PING + END + PING + DONE,
    ),
    "with usage beside text": (NULL_USAGE + END + DONE, NULL_USAGE + END + DONE),
    "without [DONE]": (HELLO + END + USAGE, HELLO + END + USAGE + DONE),
}


@pytest.mark.parametrize(("stream", "passing"), STREAMS.values(), ids=STREAMS.keys())
def test_the_same_passes_however_the_stream_is_cut(stream: bytes, passing: bytes) -> None:
    for sent in (stream, stream.replace(b"\n\n", b"\r\n\r\n")):
        assert {passed(pieces)[0] for pieces in cuts(sent)} == {passing}


@pytest.mark.parametrize(("stream", "passing"), STREAMS.values(), ids=STREAMS.keys())
def test_usage_that_nobody_asked_for_is_withheld(stream: bytes, passing: bytes) -> None:
    for pieces in cuts(stream):
        assert passed(pieces, wants_usage=False)[0] == passing.replace(USAGE, b"")


def test_usage_is_read_as_it_passes() -> None:
    for wants_usage in (True, False):
        for pieces in cuts(STREAMS["plain"][0]):
            _, watch = passed(pieces, wants_usage=wants_usage)
            assert (watch.usage, watch.deltas, watch.ended, watch.done) == (SPENT, 3, True, True)


def test_only_whole_events_pass() -> None:
    watch = StreamWatch(wants_usage=True)
    for byte in range(len(STREAMS["plain"][0])):
        passing = watch.feed(STREAMS["plain"][0][byte : byte + 1])
        assert passing == b"" or (passing.startswith(b"data: ") and passing.endswith(b"\n\n"))


def test_nothing_passes_before_content() -> None:
    watch = StreamWatch(wants_usage=True)
    assert [watch.feed(piece) for piece in (PING, PROGRESS, GREETING)] == [b"", b"", b""]
    assert not watch.started
    assert watch.feed(HELLO) == GREETING + HELLO
    assert watch.started


def test_an_error_before_content_is_a_failure_of_the_node() -> None:
    for pieces in cuts(GREETING + ERROR):
        with pytest.raises(NodeFailed, match=r"^the node answered with an error: out of memory$"):
            passed(pieces)


def test_an_error_after_content_passes_and_is_noted() -> None:
    passing, watch = passed([HELLO, ERROR])
    assert (passing, watch.failed, watch.done) == (HELLO + ERROR, "out of memory", False)


@pytest.mark.parametrize(
    "stream",
    [b"", PING, GREETING, HELLO, HELLO + WORLD[:-2], HELLO + WORLD[:20], HELLO + END + USAGE[:15]],
    ids=["nothing", "a ping", "a greeting", "no end", "half an end", "half an event", "half of the usage"],
)
def test_an_answer_that_breaks_off_is_a_failure(stream: bytes) -> None:
    for pieces in cuts(stream) if stream else [[b""]]:
        with pytest.raises(NodeFailed):
            pytest.fail(str(passed(pieces)[0]))


def test_a_last_event_without_its_end_passes_whole() -> None:
    assert passed([HELLO + END + DONE.strip()])[0] == HELLO + END + DONE
    assert passed([HELLO + END.strip()])[0] == HELLO + END + DONE


@pytest.mark.parametrize("garbage", [b"data: <html>\n\n", b"data: []\n\n", b'data: {"choices":3}\n\n'])
def test_what_is_no_event_is_a_failure(garbage: bytes) -> None:
    with pytest.raises(NodeFailed, match=r"^the node sent an event that is not JSON: "):
        passed([garbage])


def test_an_event_without_end_is_a_failure() -> None:
    watch = StreamWatch(wants_usage=True)
    with pytest.raises(NodeFailed, match=r"^the node sent an event without end$"):
        for _ in range(18):
            watch.feed(b"x" * 2**20)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"usage":{"prompt_tokens":5,"completion_tokens":2}}', SPENT),
        (b'{"usage":{"prompt_tokens":null}}', Usage()),
        (b'{"usage":null}', None),
        (b"{}", None),
        (b'{"usage":{"prompt_tokens":"many"}}', None),
    ],
)
def test_usage_of_a_whole_answer(body: bytes, usage: Usage | None) -> None:
    assert usage_of(body) == usage


@pytest.mark.parametrize(
    "body", [b"[]", b"\xff", b"", b"<html>", b'{"usage":', b'{"error":{"message":"no"}}']
)
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    with pytest.raises(NodeFailed):
        usage_of(body)
