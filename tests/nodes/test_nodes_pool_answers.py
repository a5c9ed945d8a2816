"""What the pool reads: every framing of HTTP/1.1, cut anywhere, and what breaks off."""

import asyncio
from typing import Any

import pytest
from tests.nodes.pools import fetched, pool_for, pooled
from tests.scripted_node import (
    CLOSE,
    RESET,
    STREAM_END,
    STREAM_HEAD,
    ScriptedNode,
    bytewise,
    chunk,
    settled,
    streamed,
    until,
    whole,
)

from casona.exchange.errors import NodeFailed, NodeTimedOut
from casona.nodes.http import Origin, Pool
from casona.settings import Timeouts

BODY = "¿Qué tal, señor? 🏠".encode()
CONTINUE = b"HTTP/1.1 100 Continue\r\nx-interim: 1\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"

FRAMINGS = {
    "content length": whole(BODY),
    "chunks": STREAM_HEAD + chunk(BODY[:7]) + chunk(BODY[7:]) + STREAM_END,
    "chunks with extensions and trailers": (
        STREAM_HEAD + b"5;note=yes\r\n" + BODY[:5] + b"\r\n" + chunk(BODY[5:]) + b"0\r\nx-sum: 1\r\n\r\n"
    ),
    "after interim answers": CONTINUE + EARLY_HINTS + whole(BODY),
}


@pytest.mark.parametrize("answer", FRAMINGS.values(), ids=FRAMINGS.keys())
async def test_an_answer_cut_at_every_byte_is_the_same_answer(answer: bytes) -> None:
    async with pooled([answer], bytewise(answer)) as (node, pool):
        assert await fetched(pool) == (200, BODY)
        assert await fetched(pool) == (200, BODY)
        assert node.connections == 1


async def test_each_piece_is_given_as_soon_as_it_is_there() -> None:
    go_on = asyncio.Event()
    async with pooled([STREAM_HEAD, chunk(b"one"), go_on, chunk(b"two"), STREAM_END]) as (_, pool):
        response = await pool.post("/", b"{}")
        assert await response.piece() == b"one"
        go_on.set()
        assert await response.read() == b"two"


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    script = [b"HTTP/1.1 200 OK\r\n\r\n", *bytewise(BODY), CLOSE]
    async with pooled(script) as (node, pool):
        assert await fetched(pool) == (200, BODY)
        assert await fetched(pool) == (200, BODY)
        assert node.connections == 2


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_that_has_no_body_is_over_with_its_head(status: bytes) -> None:
    async with pooled([b"HTTP/1.1 " + status + b"\r\n\r\n"]) as (node, pool):
        assert await fetched(pool) == (int(status[:3]), b"")
        assert await fetched(pool) == (int(status[:3]), b"")
        assert node.connections == 1


async def test_headers_of_interim_answers_and_trailers_are_not_the_answers() -> None:
    async with pooled([CONTINUE + STREAM_HEAD + b"0\r\nx-sum: 1\r\n\r\n"]) as (_, pool):
        response = await pool.post("/", b"{}")
        await response.read()
        assert response.headers == [(b"transfer-encoding", b"chunked")]
        assert response.header(b"transfer-encoding") == b"chunked"
        assert response.header(b"x-sum") == b""


BROKEN = {
    "in the head": [b"HTTP/1.1 200 OK\r\ncontent-le", CLOSE],
    "in a body of known length": [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort", CLOSE],
    "between chunks": [STREAM_HEAD, chunk(b"some"), CLOSE],
    "within a chunk": [STREAM_HEAD, b"ff\r\nsome", CLOSE],
    "after an interim answer": [CONTINUE, CLOSE],
    "by a reset": [STREAM_HEAD, chunk(b"some"), RESET],
    "by a reset of a body without a length": [b"HTTP/1.1 200 OK\r\n\r\nsome", RESET],
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
async def test_a_node_that_dies_in_its_answer_has_failed(script: list[bytes]) -> None:
    async with pooled(script) as (_, pool):
        with pytest.raises(
            NodeFailed, match=r"^node 'box' closed the connection in the middle of its answer$"
        ):
            await fetched(pool)


async def test_what_came_before_a_death_is_given_first() -> None:
    async with pooled([STREAM_HEAD, chunk(b"some"), CLOSE]) as (node, pool):
        response = await pool.post("/", b"{}")
        await until(lambda: node.open == 0)
        assert await response.piece() == b"some"
        with pytest.raises(NodeFailed, match="in the middle"):
            await response.piece()
        assert await response.piece() == b""


GARBAGE = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a chunk size that is none": STREAM_HEAD + b"zz\r\nhello\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
}


@pytest.mark.parametrize("said", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_not_http_is_a_failure_of_the_node(said: bytes) -> None:
    async with pooled([said]) as (node, pool):
        with pytest.raises(NodeFailed, match=r"^node 'box' sent what is not HTTP: "):
            await fetched(pool)
        await until(lambda: node.open == 0)


async def test_a_redirect_is_given_and_not_followed() -> None:
    async with ScriptedNode([whole(b"secret")]) as other:
        moved = whole(
            b"", status=b"307 Temporary Redirect", headers=b"location: %b/\r\n" % other.url.encode()
        )
        async with pooled([moved]) as (_, pool):
            assert await fetched(pool) == (307, b"")
        assert other.received == []


ENDLESS = {
    "a header": [b"HTTP/1.1 200 OK\r\nx: ", *[b"y" * 65_536] * 8],
    "many headers": [b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n" * 10_000] * 8],
    "interim answers": [CONTINUE * 2_000] * 8,
    "trailers": [STREAM_HEAD, b"0\r\n", *[b"x: y\r\n" * 10_000] * 8],
    "chunk extensions": [STREAM_HEAD, b"1;", *[b"y" * 65_536] * 8],
}


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS.keys())
async def test_headers_without_end_are_cut_off(script: list[bytes]) -> None:
    async with pooled(script) as (node, pool):
        with pytest.raises(NodeFailed, match=r"^node 'box' sent (headers without end|what is not HTTP: .*)$"):
            await fetched(pool)
        await until(lambda: node.open == 0)


async def test_a_whole_answer_beyond_the_limit_is_refused_and_stopped() -> None:
    async with pooled(streamed([b"x" * 60] * 3, asyncio.Event())) as (node, pool):
        response = await pool.post("/", b"{}")
        with pytest.raises(NodeFailed, match=r"^node 'box' sent more than 100 bytes in one answer$"):
            await response.read(limit_bytes=100)
        await node.received[0].left.wait()


async def test_a_reader_that_does_not_read_leaves_the_node_waiting() -> None:
    sixty_four_mib = [b"x" * 2**20] * 64
    async with pooled(streamed(sixty_four_mib)) as (node, pool):
        response = await pool.post("/", b"{}")
        assert await settled(lambda: node.sent_bytes) < 32 * 2**20
        assert len(await response.read()) == 64 * 2**20


async def test_a_pause_of_the_reader_is_not_a_silence_of_the_node() -> None:
    async with pooled(streamed([b"x" * 2**20] * 64), idle_s=0.05) as (node, pool):
        response = await pool.post("/", b"{}")
        await settled(lambda: node.sent_bytes)
        await asyncio.sleep(0.2)  # four times as long as the node may be silent
        assert len(await response.read()) == 64 * 2**20


TOO_SLOW = {
    "the first byte": ([asyncio.Event], {"first_event_s": 0.05}, "did not begin to answer for 0.05 s"),
    "the head": (
        [b"HTTP/1.1 200 OK\r\n", asyncio.Event],
        {"idle_s": 0.05},
        "stopped in its answer for 0.05 s",
    ),
    "the rest": (
        [STREAM_HEAD, chunk(b"a"), asyncio.Event],
        {"idle_s": 0.05},
        "stopped in its answer for 0.05 s",
    ),
}


@pytest.mark.parametrize(("script", "timeouts", "words"), TOO_SLOW.values(), ids=TOO_SLOW.keys())
async def test_a_node_that_says_nothing_is_given_up(
    script: list[Any], timeouts: dict[str, float], words: str
) -> None:
    steps = [step() if step is asyncio.Event else step for step in script]
    async with pooled(steps, **timeouts) as (node, pool):
        with pytest.raises(NodeTimedOut, match=rf"^node 'box' {words}$"):
            await fetched(pool)
        await node.received[0].left.wait()


async def test_a_slow_but_steady_node_is_not_given_up() -> None:
    ticks = [asyncio.Event() for _ in range(8)]
    script = [STREAM_HEAD, *(step for tick in ticks for step in (tick, chunk(b"x"))), STREAM_END]
    async with pooled(script, idle_s=0.4, first_event_s=0.4) as (_, pool):
        for at, tick in enumerate(ticks):
            asyncio.get_running_loop().call_later(0.1 * (at + 1), tick.set)
        assert await fetched(pool) == (200, b"xxxxxxxx")


async def test_a_node_that_takes_no_connection_in_time_is_given_up() -> None:
    async with ScriptedNode([]) as node:
        pool = pool_for(node, connect_s=0.05)
        pool.origin = Origin.of("box", node.url.replace("http:", "https:"))  # it never says a word of TLS
        with pytest.raises(NodeTimedOut, match=r"^node 'box' did not take a connection within 0.05 s$"):
            await pool.get("/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:{free}", "Connect call failed|Connection refused"),
        ("http://no-such-host.invalid", "."),
        ("http://" + "x" * 80 + ".invalid", "."),
    ],
)
async def test_a_node_that_is_not_there_is_a_failure_with_its_reason(url: str, why: str) -> None:
    async with ScriptedNode([]) as node:
        free = node.port
    pool = Pool(Origin.of("box", url.format(free=free)), Timeouts())
    with pytest.raises(NodeFailed, match=rf"^node 'box' can't be reached: .*({why})"):
        await pool.get("/")
