"""uvicorn's HTTP connection, with what it lacks.

It says at once when its client has hung up (a callback, where ASGI would need a task per
request), and closes on clients that trickle: a header in pieces, a body that stops.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

KEY = "casona.connection"


class Connection(HttpToolsProtocol):
    """One client's connection; the scope of each request holds it under KEY."""

    header_timeout_s = 10.0
    body_timeout_s = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_hang_up: Callable[[], object] | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._in_head = True
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._slow = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        hang_up, self.on_hang_up = self.on_hang_up, None
        super().connection_lost(exc)
        if hang_up is not None:
            hang_up()

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            self._unwatch()  # a body may take as long as it likes, as long as it comes
        super().data_received(data)
        if (self._in_head or self._in_body) and self._slow is None and not self.transport.is_closing():
            allowed_s = self.header_timeout_s if self._in_head else self.body_timeout_s
            self._slow = self.loop.call_later(allowed_s, self._too_slow)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()
        self.scope[KEY] = self  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._unwatch()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._unwatch()
        super().on_message_complete()

    def _unwatch(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _too_slow(self) -> None:
        self._slow = None
        if self._in_body and self.flow.read_paused:  # it is we who do not read
            self._slow = self.loop.call_later(self.body_timeout_s, self._too_slow)
        elif not self.transport.is_closing():
            self.transport.close()


def timed(header_timeout_s: float, body_timeout_s: float) -> type[Connection]:
    """The connection class with these times; uvicorn builds connections itself, hence a class."""
    return type(
        "TimedConnection",
        (Connection,),
        {"header_timeout_s": header_timeout_s, "body_timeout_s": body_timeout_s},
    )
