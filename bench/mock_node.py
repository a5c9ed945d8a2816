"""A node that costs next to nothing: whole answers at once, streamed ones as 50 chunks a second without end.

Every chunk's text is the moment it was sent, so that whoever receives it knows how long it was on the way.
Run as `python -m bench.mock_node PORT [CORE]`.
"""

import asyncio
import gc
import itertools
import sys
import time
from collections.abc import Coroutine
from typing import Any, cast

import httptools

from bench.calls import STREAMED_MODEL, WHOLE
from bench.place import pin

CHUNKS_PER_S = 50
TICK_S = 0.001
TICKS_PER_CHUNK = round(1 / CHUNKS_PER_S / TICK_S)

CHUNK_HEAD = (
    '{"id":"chatcmpl-7c1d9f0e2b","object":"chat.completion.chunk","created":1764547200,'
    f'"model":"{STREAMED_MODEL}","choices":[{{"index":0,"delta":{{"content":"t'
)
CHUNK_TAIL = '"},"finish_reason":null}]}'
STAMP_DIGITS = 19  # nanoseconds of the clock, with leading zeros
FRAME_SIZE = len("data: ") + len(CHUNK_HEAD) + STAMP_DIGITS + len(CHUNK_TAIL) + len("\n\n")
BEFORE_STAMP = f"{FRAME_SIZE:x}\r\ndata: {CHUNK_HEAD}".encode()
AFTER_STAMP = f"{CHUNK_TAIL}\n\n\r\n".encode()

WHOLE_REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(WHOLE.encode()),
    WHOLE.encode(),
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Ticker:
    """Sends each stream a chunk every 20 ms; the streams take turns by the millisecond, evenly."""

    def __init__(self) -> None:
        self._turns: list[set[asyncio.Transport]] = [set() for _ in range(TICKS_PER_CHUNK)]

    def add(self, stream: asyncio.Transport) -> None:
        min(self._turns, key=len).add(stream)

    def remove(self, stream: asyncio.Transport) -> None:
        for turn in self._turns:
            turn.discard(stream)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for tick in itertools.count():
            for stream in self._turns[tick % TICKS_PER_CHUNK]:
                stream.write(b"%b%019d%b" % (BEFORE_STAMP, time.monotonic_ns(), AFTER_STAMP))
            due_s += TICK_S
            await asyncio.sleep(max(due_s - loop.time(), 0))


class Conversation(asyncio.Protocol):
    """One connection of a client: reads requests, answers each at once."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, fault: Exception | None) -> None:
        self._ticker.remove(self._transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if b'"stream":true' in body.replace(b": ", b":"):
            self._transport.write(STREAM_HEAD)
            self._ticker.add(self._transport)
        else:
            self._transport.write(WHOLE_REPLY)


async def serve(port: int) -> None:
    ticker = Ticker()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(ticker), "127.0.0.1", port, backlog=1024)
    async with server:
        await ticker.run()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, with no garbage collection that would stop the clock for all streams at once."""
    import uvloop

    gc.freeze()
    gc.disable()
    uvloop.run(work)


if __name__ == "__main__":
    pin(int(sys.argv[2]) if len(sys.argv) > 2 else None)
    run(serve(int(sys.argv[1])))
