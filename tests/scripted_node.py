"""A small real HTTP server that says exactly what a test tells it to, and notes what it was told.

A script is a list of steps: bytes (one write each, seen by the client as one piece), CLOSE, RESET,
or an asyncio.Event to wait for. Each request plays the next script; the last one is played again
and again. With a mapping, the path chooses the script and anything else is a 404.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self


class Close:
    """Closes the connection as a server does that is done."""


class Reset:
    """Breaks the connection as a process that is killed with unread bytes."""


CLOSE: Final = Close()
RESET: Final = Reset()

Step = bytes | asyncio.Event | Close | Reset
Script = Sequence[Step]


@dataclass
class Received:
    """One request as it came in. `left` is set once the client's side of its connection is closed."""

    head: bytes
    body: bytes
    left: asyncio.Event
    connection: int
    path: str = field(init=False)
    method: str = field(init=False)
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        line, *lines = self.head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = line.split(" ")
        self.headers = dict(line.split(": ", 1) for line in lines)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ScriptedNode:
    """`async with ScriptedNode(script, ...) as node:` listens at `node.url` on a free loopback port."""

    def __init__(
        self,
        *scripts: Script,
        paths: Mapping[str, Script] | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.scripts = list(scripts)
        self.paths = paths
        self.received: list[Received] = []
        self.connections = 0
        self.open = 0
        self.sent_bytes = 0
        self._tls = tls
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self), self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for line in list(self._lines):
            line.stop()
        await until(lambda: not self._lines)

    def script_for(self, path: str) -> Script:
        if self.paths is not None:
            return self.paths.get(path, [whole(b'{"error":"not found"}', status=b"404 Not Found")])
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


class _Line(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node = node
        self.buffer = b""
        self.left = asyncio.Event()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport: Any = transport
        self.node.connections += 1
        self.node.open += 1
        self.number = self.node.connections
        self.node._lines.add(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.play_next()

    def play_next(self) -> None:
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end or (self.playing and not self.playing.done()):
            return
        request = Received(head, b"", self.left, self.number)
        length = int(request.headers.get("content-length", 0))
        if len(rest) < length:
            return
        request.body, self.buffer = rest[:length], rest[length:]
        self.node.received.append(request)
        self.playing = asyncio.get_running_loop().create_task(self.play(self.node.script_for(request.path)))

    async def play(self, script: Script) -> None:
        for step in script:
            match step:
                case bytes():
                    await self.may_write.wait()
                    self.transport.write(step)
                    self.node.sent_bytes += len(step)
                    for _ in range(3):  # turns of the loop in which the client reads this piece alone
                        await asyncio.sleep(0)
                case asyncio.Event():
                    await step.wait()
                case Close():
                    self.transport.close()
                case Reset():
                    line: socket.socket = self.transport.get_extra_info("socket")
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.transport.abort()
        self.playing = None
        self.play_next()

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.left.set()
        self.node.open -= 1
        self.node._lines.discard(self)
        if self.playing:
            self.playing.cancel()

    def stop(self) -> None:
        if self.playing:
            self.playing.cancel()
        self.transport.abort()


async def until(happens: Any, *, deadline_s: float = 10.0) -> None:
    """Wait for a condition, letting the loop turn."""
    async with asyncio.timeout(deadline_s):
        while not happens():
            await asyncio.sleep(0.001)


async def settled(value: Any, *, turns: int = 200) -> Any:
    """The value once it has stood still for many turns of the loop."""
    still, last = 0, value()
    while still < turns:
        await asyncio.sleep(0)
        now = value()
        still, last = (still + 1, last) if now == last else (0, now)
    return last


# --- answers


def whole(body: bytes, *, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """An answer with a content length, as one write."""
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, headers, len(body), body)


def as_json(value: Any, *, status: bytes = b"200 OK") -> Script:
    return [whole(json.dumps(value).encode(), status=status, headers=b"content-type: application/json\r\n")]


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def streamed(pieces: Iterable[bytes], *end: Step) -> Script:
    """A chunked answer, one chunk and one write for each piece; `end` replaces its proper end."""
    return [STREAM_HEAD, *map(chunk, pieces), *(end or (STREAM_END,))]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]
