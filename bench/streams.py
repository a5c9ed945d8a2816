"""Many streams at once: how many chunks arrive, and how long each was on its way.

Run as `python -m bench.streams`, with a JSON object on standard input: the Call, `streams`, `seconds`. It
prints `{"open": N}` when the streams run, their figures after the measured time, and keeps them open until
standard input ends, so that the proxy can be weighed under load.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import httptools

from bench.calls import Call
from bench.mock_node import STAMP_DIGITS, run
from bench.report import percentile

STAMP = re.compile(rb't(\d{%d})"' % STAMP_DIGITS)
TAIL_BYTES = STAMP_DIGITS + 2  # a stamp cut in two by a read
OPENED_PER_S = 400
OPEN_LIMIT_S = 20.0
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """`open` counts streams that had begun when the measuring did; latencies are those of all chunks that
    arrived while it lasted, from the node's write to the client's read."""

    open: int
    chunks_per_s: float
    p50_ms: float
    p99_ms: float
    worst_ms: float


class Tape:
    """Notes the latency of every chunk while it is running."""

    def __init__(self) -> None:
        self.running = False
        self.latencies_ns: list[int] = []


class Stream(asyncio.Protocol):
    """One streamed chat, from the client's side."""

    def __init__(self, request: bytes, tape: Tape) -> None:
        self._request = request
        self._tape = tape
        self._parser = httptools.HttpResponseParser(self)
        self._tail = b""
        self.begun = asyncio.Event()
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def connection_lost(self, fault: Exception | None) -> None:
        self.ended = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        now_ns = time.monotonic_ns()
        text = self._tail + body
        end = 0
        for stamp in STAMP.finditer(text):
            end = stamp.end()
            if self._tape.running:
                self._tape.latencies_ns.append(now_ns - int(stamp[1]))
        self._tail = text[max(end, len(text) - TAIL_BYTES) :]
        if end:
            self.begun.set()


async def measure(call: Call, count: int, seconds: float) -> None:
    tape = Tape()
    streams = await _open(call, count, tape)
    await asyncio.sleep(SETTLE_S)
    alive = sum(stream.begun.is_set() and not stream.ended for stream in streams)
    print(json.dumps({"open": alive}), flush=True)
    started_s, tape.running = time.monotonic(), True
    await asyncio.sleep(seconds)
    tape.running, took_s = False, time.monotonic() - started_s
    print(json.dumps(asdict(figures(tape.latencies_ns, alive, took_s))), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for stream in streams:
        stream.transport.abort()


async def _open(call: Call, count: int, tape: Tape) -> list[Stream]:
    """Open the streams one after another, and wait until all have begun or the time is up."""
    loop = asyncio.get_running_loop()
    request = call.request(stream=True)
    streams: list[Stream] = []
    for _ in range(count):
        _, stream = await loop.create_connection(lambda: Stream(request, tape), "127.0.0.1", call.port)
        streams.append(stream)
        await asyncio.sleep(1 / OPENED_PER_S)
    begun = [asyncio.create_task(stream.begun.wait()) for stream in streams]
    _, waiting = await asyncio.wait(begun, timeout=OPEN_LIMIT_S)
    for task in waiting:
        task.cancel()
    return streams


def figures(latencies_ns: list[int], open_streams: int, took_s: float) -> StreamFigures:
    ordered = sorted(latencies_ns)
    p50, p99, worst = (percentile(ordered, share) / 1e6 for share in (0.50, 0.99, 1.0))
    return StreamFigures(open_streams, len(ordered) / took_s, p50, p99, worst)


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    run(measure(Call(**asked["call"]), asked["streams"], asked["seconds"]))


if __name__ == "__main__":
    main()
