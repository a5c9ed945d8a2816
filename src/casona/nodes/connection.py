"""One HTTP/1.1 connection to a node: at most one exchange at a time, on asyncio and httptools."""

import asyncio
from typing import Protocol, cast

import httptools

from casona.exchange.errors import NodeFailed, NodeTimedOut
from casona.settings import Timeouts

HIGH_WATER_BYTES = 256 * 1024
"""An answer that is not read is held up to this, then the node is left waiting."""

LARGE_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 256 * 1024
"""Most bytes in a row that are no body: heads, interim answers, trailers, chunk extensions."""

LINGER_S = 1.0
"""How long an answer whose meaning is over may take to end as HTTP, for its connection to be kept."""


class DiedUnheard(Exception):
    """The connection ended before a byte of the answer."""


class Keeper(Protocol):
    """Who keeps connections: `name` is the node's, for messages."""

    @property
    def name(self) -> str: ...
    @property
    def timeouts(self) -> Timeouts: ...
    def joined(self, connection: "Connection") -> None: ...
    def left(self, connection: "Connection") -> None: ...
    def give_back(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """One connection; at most one exchange at a time."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.transport: asyncio.Transport | None = None
        self.loop = asyncio.get_running_loop()
        self.idle_since_s = 0.0
        self.keep_s = keeper.timeouts.pool_idle_s
        self.uses_left = 1 << 30
        self.timer: asyncio.TimerHandle | None = None
        self.idle = True
        self.lingers = False
        self._renew()

    def _renew(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.buffered = 0
        self.bare_bytes = 0
        self.paused = False
        self.heard = False
        self.status = 0
        self.head_done = False
        self.complete = False
        self.until_eof = False
        self.keeps = False
        self.fault: Exception | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.last_heard_s = 0.0

    # --- one exchange

    async def exchange(self, head: bytes, body: bytes) -> None:
        """Write the request and wait for the answer's head: `status` and `headers`.

        Raises DiedUnheard, NodeFailed or NodeTimedOut.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise DiedUnheard
        self._renew()
        self.idle = False
        self.last_heard_s = self.loop.time()
        head = b"%b%d\r\n\r\n" % (head, len(body))
        if len(body) < LARGE_BODY_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        timeouts = self.keeper.timeouts
        self._watch(min(timeouts.first_event_s, timeouts.idle_s))
        try:
            while not self.head_done:
                await self._wait()
        except BaseException:
            self.abort()
            raise

    async def piece(self) -> bytes:
        while not self.pieces:
            if self.complete:
                return b""
            await self._wait()
        piece = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces = []
        self.buffered = 0
        self._listen()
        return piece

    def finish(self) -> None:
        """Back to the pool when the whole answer was read, else closed."""
        self._unwatch()
        if not self.complete or self.pieces or not self._reusable():
            self.abort()
            return
        self.uses_left -= 1
        self.idle = True
        self.idle_since_s = self.loop.time()
        self.keeper.give_back(self)

    def linger(self) -> None:
        """Back to the pool once the answer has ended; what else comes of it is dropped."""
        if self.complete or self.until_eof or not self.keeps:
            self.pieces = []
            self.finish()
            return
        self._unwatch()
        self._listen()
        self.lingers = True
        self.timer = self.loop.call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        self.lingers = False
        self._unwatch()
        self.keeper.left(self)
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    def usable(self, now_s: float) -> bool:
        return self._reusable() and self.uses_left > 0 and self.idle_left_s(now_s) > 0

    def idle_left_s(self, now_s: float) -> float:
        return self.idle_since_s + self.keep_s - now_s

    def _listen(self) -> None:
        """Read on after a pause."""
        if self.paused and self.transport is not None:
            self.paused = False
            self.last_heard_s = self.loop.time()  # it was we who did not listen
            self.transport.resume_reading()

    def _reusable(self) -> bool:
        return self.keeps and self.transport is not None and not self.transport.is_closing()

    async def _wait(self) -> None:
        """Until something happened. Raises the fault, once what came before it has been read."""
        self._complain()
        self.waiter = self.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None
        if not self.pieces:
            self._complain()

    def _complain(self) -> None:
        if self.fault is not None:
            raise self.fault

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    # --- time

    def _watch(self, allowed_s: float) -> None:
        """One timer per exchange, set anew when it fires: cheaper than one per piece."""
        self.timer = self.loop.call_later(allowed_s, self._check_time)

    def _unwatch(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _check_time(self) -> None:
        timeouts = self.keeper.timeouts
        allowed_s = timeouts.idle_s if self.heard else timeouts.first_event_s
        left_s = allowed_s if self.paused else self.last_heard_s + allowed_s - self.loop.time()
        if left_s > 0:
            self._watch(min(left_s, timeouts.idle_s))
            return
        what = "stopped in its answer" if self.heard else "did not begin to answer"
        self._fail(NodeTimedOut(f"node {self.keeper.name!r} {what} for {allowed_s:g} s"))

    def _fail(self, fault: Exception) -> None:
        if self.fault is None:
            self.fault = fault
        self._wake()
        self.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclasses
        self.keeper.joined(self)

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.abort()  # words that nobody asked for, such as a 408 before closing
            return
        self.last_heard_s = self.loop.time()
        self.heard = True
        self.bare_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            self._fail(NodeFailed(f"node {self.keeper.name!r} sent what is not HTTP: {fault}"))
            return
        if self.bare_bytes > MAX_HEAD_BYTES:
            self._fail(NodeFailed(f"node {self.keeper.name!r} sent headers without end"))
        elif self.lingers:
            self._end_lingering()
        elif self.head_done:
            self._wake()
        if self.buffered > HIGH_WATER_BYTES and not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pause_reading()

    def _end_lingering(self) -> None:
        self.pieces = []
        self.buffered = 0
        if self.complete:
            self.lingers = False
            self.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.keeper.left(self)
        self.transport = None
        if self.until_eof and exc is None:
            self.complete = True
        if self.complete:
            pass
        elif not self.heard:
            self.fault = self.fault or DiedUnheard()
        else:
            self.fault = self.fault or NodeFailed(
                f"node {self.keeper.name!r} closed the connection in the middle of its answer"
            )
        self._unwatch()
        self._wake()

    # --- httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:
            return  # a trailer, or a second answer that nobody asked for
        name = name.lower()
        self.headers.append((name, value))
        if name == b"keep-alive":
            self._read_keep_alive(value)

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if self.head_done:
            self.keeps = False  # a second answer: this connection can't be trusted with another request
            return
        if 100 <= status < 200:
            self.headers.clear()
            return
        self.status = status
        names = {name for name, _ in self.headers}
        self.until_eof = not names & {b"content-length", b"transfer-encoding"}
        self.keeps = self.parser.should_keep_alive()
        self.head_done = True

    def on_body(self, body: bytes) -> None:
        self.bare_bytes = 0
        if not self.complete:
            self.pieces.append(body)
            self.buffered += len(body)

    def on_message_complete(self) -> None:
        if self.head_done:
            self.complete = True
            self._unwatch()

    def _read_keep_alive(self, value: bytes) -> None:
        for item in value.split(b","):
            key, _, number = item.strip().partition(b"=")
            if number.isdigit() and key == b"timeout":
                self.keep_s = min(self.keeper.timeouts.pool_idle_s, max(int(number) - 1, 0))
            elif number.isdigit() and key == b"max":
                self.uses_left = min(self.uses_left, int(number))
