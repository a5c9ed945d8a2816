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
from urllib.parse import urlsplit

from casona.exchange.errors import NodeFailed, NodeTimedOut
from casona.nodes.connection import Connection, DiedUnheard
from casona.nodes.dial import dial
from casona.settings import Timeouts

MAX_WHOLE_BYTES = 256 * 2**20


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
    """Connections to one node. `headers` go with every request.

    Raises ValueError for a header that HTTP can't carry.
    """

    def __init__(self, origin: Origin, timeouts: Timeouts, headers: dict[str, str] | None = None) -> None:
        self.name = origin.name
        self.origin = origin
        self.timeouts = timeouts
        own = {"host": origin.host_header, "accept-encoding": "identity"} | (headers or {})
        self._head = b"".join(_header_line(name, value) for name, value in own.items())
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._heads: dict[tuple[str, str, str], bytes] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def post(self, path: str, body: bytes, *, accept: str = "*/*") -> "Response":
        """Send a JSON body; gives the response once its head is there."""
        return await self._send(self._head_of("POST", path, accept), body)

    async def get(self, path: str) -> "Response":
        return await self._send(self._head_of("GET", path, "application/json"), b"")

    async def close(self) -> None:
        """Close every connection, also those in use: their readers get NodeFailed."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()

    def _head_of(self, method: str, path: str, accept: str) -> bytes:
        """Everything before the content length; few paths exist, so heads are built once."""
        head = self._heads.get((method, path, accept))
        if head is None:
            kind = "content-type: application/json\r\n" if method == "POST" else ""
            line = f"{method} {self.origin.prefix}{path} HTTP/1.1\r\naccept: {accept}\r\n{kind}"
            head = line.encode("latin-1") + self._head + b"content-length: "
            if len(self._heads) < 64:
                self._heads[method, path, accept] = head
        return head

    async def _send(self, head: bytes, body: bytes) -> "Response":
        connection = self._take()
        if connection is not None:
            try:
                await connection.exchange(head, body)
                return Response(connection)
            except DiedUnheard:
                pass  # the node closed its side as we wrote; nothing was answered, so once more
        connection = await self._connect()
        try:
            await connection.exchange(head, body)
            return Response(connection)
        except DiedUnheard as fault:
            raise NodeFailed(f"node {self.origin.name!r} closed the connection without an answer") from fault

    def _take(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(now):
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        if self._closed:
            raise NodeFailed(f"node {self.origin.name!r} is being taken away")
        origin = self.origin
        try:
            async with asyncio.timeout(self.timeouts.connect_s):
                return await dial(lambda: Connection(self), origin.host, origin.port, tls=origin.tls)
        except TimeoutError as fault:
            raise NodeTimedOut(
                f"node {origin.name!r} did not take a connection within {self.timeouts.connect_s:g} s"
            ) from fault
        except ssl.SSLCertVerificationError as fault:
            raise NodeFailed(
                f"node {origin.name!r} showed a certificate that can't be trusted: {fault.verify_message}; "
                "its `ca_file` setting may name the authority that signed it"
            ) from fault
        except (OSError, ValueError) as fault:  # ValueError: a name that can be none
            why = getattr(fault, "strerror", None) or fault
            raise NodeFailed(f"node {origin.name!r} can't be reached: {why}") from fault

    def joined(self, connection: Connection) -> None:
        self._open.add(connection)

    def left(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def give_back(self, connection: Connection) -> None:
        if self._closed:
            connection.abort()
            return
        self._idle.append(connection)
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(self.timeouts.pool_idle_s, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long; comes again as long as anything is idle."""
        loop = asyncio.get_running_loop()
        for connection in list(self._idle):
            if not connection.usable(loop.time()):
                connection.abort()
        self._sweeper = None
        if self._idle:
            wait_s = max(self._idle[0].idle_left_s(loop.time()), 0.01)
            self._sweeper = loop.call_later(wait_s, self._sweep)


def _header_line(name: str, value: str) -> bytes:
    if not (value.isprintable() and value.isascii()):
        raise ValueError(f"the {name} header of a node may hold printable ASCII characters only")
    return f"{name}: {value}\r\n".encode("ascii")


class Response:
    """A node's answer: the head is here, the body comes as it is asked for.

    Iterating gives the body's pieces as they arrive. `close` before the end closes the
    connection, which is how a node learns that nobody waits any more.
    """

    __slots__ = ("_connection", "headers", "queued_s", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self.status = connection.status
        self.headers = connection.headers
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

    async def read(self, *, limit_bytes: int = MAX_WHOLE_BYTES) -> bytes:
        """The whole body. Raises NodeFailed when it is longer than `limit_bytes`."""
        pieces: list[bytes] = []
        size_bytes = 0
        while piece := await self.piece():
            size_bytes += len(piece)
            if size_bytes > limit_bytes:
                name = self._connection.keeper.name if self._connection else ""
                self.close()
                raise NodeFailed(f"node {name!r} sent more than {limit_bytes} bytes in one answer")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> None:
        """Let go of an answer whose meaning is over: what is left of it may only be HTTP's own end.

        The connection is kept when that end comes soon, closed otherwise.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.linger()

    def close(self) -> None:
        """Stop the node's work by closing the connection, unless the whole answer has been read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish()
