"""Which connections the pool keeps, reuses, opens anew and closes; and what it sends on them."""

import asyncio

import pytest
from tests.nodes.pools import fetched, pool_for, pooled
from tests.scripted_node import (
    CLOSE,
    RESET,
    STREAM_END,
    STREAM_HEAD,
    ScriptedNode,
    chunk,
    streamed,
    until,
    whole,
)

from casona.exchange.errors import NodeFailed
from casona.nodes.http import Origin, Pool
from casona.settings import Timeouts

OK = whole(b"ok")


def with_keep_alive(value: bytes) -> bytes:
    return whole(b"ok", headers=b"Keep-Alive: %b\r\n" % value)


async def test_a_connection_is_used_again() -> None:
    async with pooled([OK]) as (node, pool):
        for _ in range(5):
            assert await fetched(pool) == (200, b"ok")
        assert [request.connection for request in node.received] == [1] * 5


async def test_exchanges_at_once_have_a_connection_each() -> None:
    async with pooled([OK]) as (node, pool):
        found = await asyncio.gather(*(fetched(pool) for _ in range(4)))
        assert found == [(200, b"ok")] * 4
        assert node.connections == 4


async def test_an_answer_that_is_not_read_to_its_end_gives_no_connection_back() -> None:
    async with pooled([STREAM_HEAD, chunk(b"one"), asyncio.Event()], [OK]) as (node, pool):
        response = await pool.post("/", b"{}")
        assert await response.piece() == b"one"
        response.close()
        await node.received[0].left.wait()
        assert await fetched(pool) == (200, b"ok")
        assert node.connections == 2


async def test_cancelling_while_waiting_for_the_head_closes_the_connection_at_once() -> None:
    async with pooled([asyncio.Event()]) as (node, pool):
        asking = asyncio.ensure_future(pool.post("/", b"{}"))
        await until(lambda: node.received)
        asking.cancel()
        await node.received[0].left.wait()
        assert node.open == 0


async def test_cancelling_while_reading_closes_the_connection_at_once() -> None:
    async with pooled([STREAM_HEAD, chunk(b"one"), asyncio.Event()]) as (node, pool):
        response = await pool.post("/", b"{}")
        reading = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)
        reading.cancel()
        await node.received[0].left.wait()


async def test_the_nodes_limit_of_requests_is_kept() -> None:
    async with pooled([with_keep_alive(b"timeout=60, max=2")]) as (node, pool):
        for _ in range(5):
            await fetched(pool)
        assert [request.connection for request in node.received] == [1, 1, 2, 2, 3]


async def test_a_node_that_keeps_no_connection_for_a_second_is_not_asked_to() -> None:
    async with pooled([with_keep_alive(b"timeout=1")]) as (node, pool):
        await fetched(pool)
        await fetched(pool)
        assert node.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"ok", headers=b"Connection: close\r\n"),
        OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
        OK + b"and more that nobody asked for",
        OK + whole(b"another answer"),
    ],
    ids=["close", "HTTP/1.0", "garbage after it", "an answer after it"],
)
async def test_a_connection_that_can_not_be_trusted_again_is_closed(answer: bytes) -> None:
    async with pooled([answer]) as (node, pool):
        assert await fetched(pool) == (200, b"ok")
        assert await fetched(pool) == (200, b"ok")
        assert node.connections == 2
        await until(lambda: node.open == 0)


async def test_words_on_an_idle_connection_close_it() -> None:
    speak = asyncio.Event()
    async with pooled([OK, speak, b"HTTP/1.1 408 Request Timeout\r\n\r\n"], [OK]) as (node, pool):
        await fetched(pool)
        speak.set()
        await until(lambda: node.open == 0)
        assert await fetched(pool) == (200, b"ok")


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with pooled([OK], pool_idle_s=0.05) as (node, pool):
        await asyncio.gather(fetched(pool), fetched(pool))
        assert node.open == 2
        await until(lambda: node.open == 0)


@pytest.mark.parametrize("death", [CLOSE, RESET], ids=["closed", "reset"])
async def test_a_kept_connection_that_dies_unheard_is_replaced_once(death: object) -> None:
    async with pooled([OK], [death], [OK]) as (node, pool):
        await fetched(pool)
        assert await fetched(pool) == (200, b"ok")
        assert [request.connection for request in node.received] == [1, 1, 2]


@pytest.mark.parametrize("death", [CLOSE, RESET], ids=["closed", "reset"])
async def test_a_new_connection_that_dies_unheard_is_a_failure(death: object) -> None:
    async with pooled([death]) as (node, pool):
        with pytest.raises(NodeFailed, match=r"^node 'box' closed the connection without an answer$"):
            await fetched(pool)
        assert len(node.received) == 1


async def test_two_deaths_in_a_row_are_a_failure() -> None:
    async with pooled([OK], [CLOSE], [CLOSE], [OK]) as (node, pool):
        await fetched(pool)
        with pytest.raises(NodeFailed, match="without an answer"):
            await fetched(pool)
        assert len(node.received) == 3


async def test_a_request_is_not_sent_again_once_a_byte_of_its_answer_was_there() -> None:
    async with pooled([OK], [b"HTTP/1.1 2", CLOSE], [OK]) as (node, pool):
        await fetched(pool)
        with pytest.raises(NodeFailed, match="in the middle"):
            await fetched(pool)
        assert len(node.received) == 2


async def test_a_released_answer_that_ends_soon_keeps_its_connection() -> None:
    end = asyncio.Event()
    async with pooled([STREAM_HEAD, chunk(b"all"), end, STREAM_END], [OK]) as (node, pool):
        response = await pool.post("/", b"{}")
        assert await response.piece() == b"all"
        response.release()
        end.set()
        await until(lambda: len(pool._idle) == 1)
        assert await fetched(pool) == (200, b"ok")
        assert node.connections == 1


async def test_a_released_answer_that_does_not_end_is_closed() -> None:
    async with pooled([STREAM_HEAD, chunk(b"all"), asyncio.Event()]) as (node, pool):
        response = await pool.post("/", b"{}")
        assert await response.piece() == b"all"
        response.release()
        await node.received[0].left.wait()


async def test_closing_the_pool_ends_what_is_in_use_and_takes_no_more() -> None:
    async with pooled([OK], [STREAM_HEAD, chunk(b"one"), asyncio.Event()]) as (node, pool):
        await fetched(pool)
        running = await pool.post("/", b"{}")
        assert await running.piece() == b"one"
        await pool.close()
        with pytest.raises(NodeFailed, match="in the middle"):
            await running.piece()
        with pytest.raises(NodeFailed, match=r"^node 'box' is being taken away$"):
            await pool.get("/")
        await until(lambda: node.open == 0)


async def test_a_request_is_exactly_this() -> None:
    async with ScriptedNode([OK]) as node:
        pool = Pool(Origin.of("box", node.url + "/v1/"), Timeouts(), {"authorization": "Bearer sesame"})
        await (await pool.post("/chat", b'{"a":1}', accept="text/event-stream")).read()
        await (await pool.get("/chat")).read()
        common = (
            f"host: 127.0.0.1:{node.port}\r\naccept-encoding: identity\r\nauthorization: Bearer sesame\r\n"
        )
        first, second = node.received
        assert first.head.decode() == (
            "POST /v1/chat HTTP/1.1\r\naccept: text/event-stream\r\ncontent-type: application/json\r\n"
            + common
            + "content-length: 7"
        )
        assert first.body == b'{"a":1}'
        assert second.head.decode() == (
            "GET /v1/chat HTTP/1.1\r\naccept: application/json\r\n" + common + "content-length: 0"
        )


async def test_get_and_post_of_one_path_are_not_mixed_up() -> None:
    async with pooled([OK]) as (node, pool):
        await (await pool.post("/x", b"{}", accept="application/json")).read()
        await (await pool.get("/x")).read()
        assert [request.method for request in node.received] == ["POST", "GET"]


async def test_a_large_body_arrives_whole() -> None:
    body = b"x" * 5_000_000
    async with pooled([OK]) as (node, pool):
        await (await pool.post("/", body)).read()
        assert node.received[0].body == body


async def test_no_proxy_variable_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedNode([whole(b"proxy")]) as proxy, ScriptedNode([OK]) as node:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        pool = pool_for(node)
        assert await fetched(pool) == (200, b"ok")
        assert proxy.connections == 0
        await pool.close()


@pytest.mark.parametrize("value", ["Bearer a\r\nx-evil: 1", "Bearer ñ", "Bearer \x00"])
def test_a_header_that_would_break_out_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^the authorization header of a node may hold printable ASCII"):
        Pool(Origin.of("box", "http://127.0.0.1:1"), Timeouts(), {"authorization": value})


@pytest.mark.parametrize("url", ["ftp://a", "http://", "a:80", "http://a:99999"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Origin.of("box", url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://box", "box"),
        ("http://box:80", "box"),
        ("http://box:8000/v1", "box:8000"),
        ("https://box:443", "box"),
        ("https://box:80", "box:80"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_the_host_header_names_the_port_unless_it_is_the_schemes_own(url: str, host: str) -> None:
    assert Origin.of("box", url).host_header == host


def test_streams_are_written_as_they_are_told() -> None:
    assert streamed([b"ab"]) == [STREAM_HEAD, b"2\r\nab\r\n", STREAM_END]
