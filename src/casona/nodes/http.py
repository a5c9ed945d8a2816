"""The connection pool of one node: HTTP/1.1 on asyncio and httptools.

Relaying is what Casona exists for, hence a client of our own here and nowhere else: it keeps
connections, tells a node at once when nobody waits any more (by closing the connection), and
costs about a fifth of the general clients. It follows no redirect, sends no cookie, uses no
proxy and asks for no compression: bytes pass as the node wrote them.

All failures are NodeFailed (or NodeTimedOut), told in one line that names the node.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from casona.exchange.errors import NodeFailed, NodeTimedOut
from casona.nodes.dial import dial
from casona.settings import Timeouts

HIGH_WATER_BYTES = 256 * 1024
LARGE_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a node listens; `prefix` is the path its API lives under, without a final slash."""

    name: str
    host: str
    port: int
    prefix: str = ""
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, name: str, url: str, *, tls: ssl.SSLContext | None = None) -> "Origin":
        """Read `http://host:port/prefix`. Raises ValueError for any other scheme."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"need an http or https address, got {url!r}")
        secure = parts.scheme == "https"
        return cls(
            name=name,
            host=parts.hostname,
            port=parts.port or (443 if secure else 80),
            prefix=parts.path.rstrip("/"),
            tls=(tls or ssl.create_default_context()) if secure else None,
        )

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Pool:
    """Connections to one node. `headers` go with every request."""

    def __init__(self, origin: Origin, timeouts: Timeouts, headers: dict[str, str] | None = None) -> None:
        self.origin = origin
        self.timeouts = timeouts
        own = {"host": origin.host_header, "accept-encoding": "identity"} | (headers or {})
        self._head = "".join(f"{name}: {value}\r\n" for name, value in own.items()).encode("latin-1")
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._heads: dict[tuple[str, str], bytes] = {}
        self._closed = False

    async def post(self, path: str, body: bytes, *, accept: str = "*/*") -> "Response":
        """Send a JSON body; gives the response once its head is there."""
        return await self._send(self._head_of("POST", path, accept), body)

    async def get(self, path: str) -> "Response":
        return await self._send(self._head_of("GET", path, "application/json"), b"")

    async def close(self) -> None:
        """Close every connection, also those in use: their readers get NodeFailed."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()

    def _head_of(self, method: str, path: str, accept: str) -> bytes:
        """Everything before the content length; few paths exist, so heads are built once."""
        head = self._heads.get((path, accept))
        if head is None:
            kind = "content-type: application/json\r\n" if method == "POST" else ""
            line = f"{method} {self.origin.prefix}{path} HTTP/1.1\r\naccept: {accept}\r\n{kind}"
            head = line.encode("latin-1") + self._head + b"content-length: "
            if len(self._heads) < 64:
                self._heads[path, accept] = head
        return head

    async def _send(self, head: bytes, body: bytes) -> "Response":
        connection = self._take()
        if connection is not None:
            try:
                return await connection.exchange(head, body)
            except _DiedUnheard:
                pass  # the node closed its side as we wrote; nothing was answered, so once more
        connection = await self._connect()
        try:
            return await connection.exchange(head, body)
        except _DiedUnheard as fault:
            raise NodeFailed(f"node {self.origin.name!r} closed the connection without an answer") from fault

    def _take(self) -> "_Connection | None":
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(now):
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "_Connection":
        if self._closed:
            raise NodeFailed(f"node {self.origin.name!r} is being taken away")
        origin = self.origin
        try:
            async with asyncio.timeout(self.timeouts.connect_s):
                return await dial(lambda: _Connection(self), origin.host, origin.port, tls=origin.tls)
        except TimeoutError as fault:
            raise NodeTimedOut(
                f"node {origin.name!r} did not take a connection within {self.timeouts.connect_s:g} s"
            ) from fault
        except (OSError, ssl.SSLError) as fault:
            raise NodeFailed(f"node {origin.name!r} can't be reached: {fault.strerror or fault}") from fault

    def joined(self, connection: "_Connection") -> None:
        self._open.add(connection)

    def left(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def give_back(self, connection: "_Connection") -> None:
        if self._closed:
            connection.abort()
            return
        self._idle.append(connection)
        while len(self._idle) > 1 and not self._idle[0].usable(connection.idle_since_s):
            self._idle.popleft().abort()


class _DiedUnheard(Exception):
    """The connection ended before a byte of the answer."""


class Response:
    """A node's answer: the head is here, the body comes as it is asked for.

    Iterating gives the body's pieces as they arrive. `close` before the end closes the
    connection, which is how a node learns that nobody waits any more.
    """

    __slots__ = ("_connection", "headers", "queued_s", "status")

    def __init__(self, connection: "_Connection", status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._connection: _Connection | None = connection
        self.status = status
        self.headers = headers
        self.queued_s = 0.0

    def header(self, name: bytes) -> bytes:
        """The first header called `name` (lower case), or b""."""
        return next((value for key, value in self.headers if key == name), b"")

    async def piece(self) -> bytes:
        """The body's next bytes, b"" at its end."""
        connection = self._connection
        if connection is None:
            return b""
        try:
            piece = await connection.piece()
        except BaseException:
            self.close()
            raise
        if not piece:
            self._connection = None
            connection.finish()
        return piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.piece():
            yield piece

    async def read(self) -> bytes:
        """The whole body."""
        first = await self.piece()
        if not first:
            return b""
        second = await self.piece()
        if not second:
            return first
        pieces = [first, second]
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish()


class _Connection(asyncio.Protocol):
    """One connection; at most one exchange at a time."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.loop = asyncio.get_running_loop()
        self.idle_since_s = 0.0
        self.keep_s = pool.timeouts.pool_idle_s
        self.uses_left = 1 << 30
        self.timer: asyncio.TimerHandle | None = None
        self.idle = True
        self._renew()

    def _renew(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.buffered = 0
        self.paused = False
        self.heard = False
        self.head_done = False
        self.complete = False
        self.until_eof = False
        self.keeps = False
        self.fault: Exception | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.last_heard_s = 0.0

    # --- one exchange

    async def exchange(self, head: bytes, body: bytes) -> Response:
        """Write the request and wait for the answer's head."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise _DiedUnheard
        self._renew()
        self.idle = False
        self.last_heard_s = self.loop.time()
        head = b"%b%d\r\n\r\n" % (head, len(body))
        if len(body) < LARGE_BODY_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        self._watch(self.pool.timeouts.first_event_s)
        try:
            while not self.head_done:
                await self._wait()
        except BaseException:
            self.abort()
            raise
        return Response(self, self.parser.get_status_code(), self.headers)

    async def piece(self) -> bytes:
        while not self.pieces:
            if self.complete:
                return b""
            await self._wait()
        piece = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces = []
        self.buffered = 0
        if self.paused and self.transport is not None:
            self.paused = False
            self.transport.resume_reading()
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
        self.pool.give_back(self)

    def abort(self) -> None:
        self._unwatch()
        self.pool.left(self)
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    def usable(self, now_s: float) -> bool:
        return (
            self.transport is not None
            and not self.transport.is_closing()
            and self.uses_left > 0
            and now_s - self.idle_since_s < self.keep_s
        )

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
        timeouts = self.pool.timeouts
        allowed_s = timeouts.idle_s if self.heard else timeouts.first_event_s
        left_s = self.last_heard_s + allowed_s - self.loop.time()
        if self.paused or left_s > 0:
            self._watch(max(left_s, 1.0))
            return
        what = "stopped in its answer" if self.heard else "did not begin to answer"
        self._fail(NodeTimedOut(f"node {self.pool.origin.name!r} {what} for {allowed_s:g} s"))

    def _fail(self, fault: Exception) -> None:
        if self.fault is None:
            self.fault = fault
        self._wake()
        self.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclasses
        self.pool.joined(self)

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.abort()  # words that nobody asked for, such as a 408 before closing
            return
        self.last_heard_s = self.loop.time()
        self.heard = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            self._fail(NodeFailed(f"node {self.pool.origin.name!r} sent what is not HTTP: {fault}"))
            return
        if self.head_done:
            self._wake()
        if self.buffered > HIGH_WATER_BYTES and not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.left(self)
        self.transport = None
        if self.until_eof and exc is None:
            self.complete = True
        if self.complete:
            pass
        elif not self.heard:
            self.fault = self.fault or _DiedUnheard()
        else:
            self.fault = self.fault or NodeFailed(
                f"node {self.pool.origin.name!r} closed the connection in the middle of its answer"
            )
        self._unwatch()
        self._wake()

    # --- httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        if name == b"keep-alive":
            self._read_keep_alive(value)

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if 100 <= status < 200:
            self.headers.clear()
            return
        names = {name for name, _ in self.headers}
        self.until_eof = not names & {b"content-length", b"transfer-encoding"} and status not in {204, 304}
        self.keeps = self.parser.should_keep_alive()
        self.head_done = True

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)
        self.buffered += len(body)

    def on_message_complete(self) -> None:
        if self.head_done:
            self.complete = True

    def _read_keep_alive(self, value: bytes) -> None:
        for item in value.split(b","):
            key, _, number = item.strip().partition(b"=")
            if number.isdigit() and key == b"timeout":
                self.keep_s = min(self.pool.timeouts.pool_idle_s, max(int(number) - 1, 0))
            elif number.isdigit() and key == b"max":
                self.uses_left = min(self.uses_left, int(number))
