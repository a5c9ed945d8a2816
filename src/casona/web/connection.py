"""uvicorn's HTTP connection, with what it lacks.

It cancels a request's task at once when its client has hung up (ASGI would need a second task
for each request to notice), closes on clients that trickle (a header in pieces, a body that stops),
bounds headers, and leaves offers to upgrade alone.
"""

import asyncio
import sys
from typing import Any

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from casona.web.asgi import Headers, Send

KEY = "casona.connection"

MAX_HEAD_BYTES = 128 * 1024
"""Some eight times what browsers and proxies allow; httptools would take headers without end."""

OFFERS = frozenset({b"upgrade", b"http2-settings"})


class Connection(HttpToolsProtocol):
    """One client's connection; the scope of each request holds it under KEY.

    `hung_up` tells a cancelled task that nobody waits for it any more.
    """

    header_timeout_s = 10.0
    body_timeout_s = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hung_up = False
        self._task: asyncio.Task[None] | None = None
        self._running: RequestResponseCycle | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._in_head = True
        self._in_body = False
        self._head_bytes = 0
        self._data = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._slow = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self.hung_up = True
        super().connection_lost(exc)
        if self._task is not None and self._running is not None and not self._running.response_complete:
            self._task.cancel()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle  # `cycle` of the base class is the request read last, which may wait
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            self._unwatch()  # a body may take as long as it likes, as long as it comes
        self._data = data
        super().data_received(data)
        self._data = b""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"the request's headers are larger than {MAX_HEAD_BYTES} bytes")
                return
        if self._in_head or self._in_body:
            if self._slow is None:
                allowed_s = self.header_timeout_s if self._in_head else self.body_timeout_s
                self._slow = self.loop.call_later(allowed_s, self._too_slow)
        elif self.timeout_keep_alive_task is None and not self._busy:
            # empty lines between two requests, after which uvicorn would wait for ever
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()
        self.scope[KEY] = self  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # the request comes again, without its offer
        self._in_head, self._in_body = False, True
        self._unwatch()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_body = False
        self._unwatch()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not HTTP as it should be" if self._data else msg)

    def cut_off(self) -> None:
        """End what is running without another word: the house is closing."""
        if self._running is not None:
            self._running.disconnected = True
        self.transport.close()

    @property
    def answering(self) -> bool:
        """Whether an answer has begun and not ended."""
        running = self._running
        return running is not None and running.response_started and not running.response_complete

    @property
    def _busy(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is no request, and close; in the middle of another answer only close."""
        if not self._busy:
            body = msgspec.json.encode(
                {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
            )
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Read the request again as if it offered nothing, which RFC 9110 section 7.8 lets a server do.

        Java's HTTP client offers HTTP/2 with every request; httptools takes the body for HTTP/2 then.
        """
        fault = sys.exception()
        method = self.parser.get_method()
        if not isinstance(fault, httptools.HttpParserUpgrade) or method == b"CONNECT":
            self.send_400_response("CONNECT is for proxies")
            return
        rest = self._data[fault.args[0] :]
        lines = [b"%b %b HTTP/1.1" % (method, self.url)]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(it for it in value.split(b",") if it.strip().lower() not in OFFERS)
            if name not in OFFERS and value:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

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


def answer_at_once(send: Send, status: int, headers: Headers, body: bytes) -> bool:
    """Write a whole answer in one go, as ASGI's two messages would, at a third of their cost.

    False, and nothing done, unless `send` is the connection's own and can take it now. The caller
    vouches for the headers: names in lower case, values without line breaks.
    """
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.flow.write_paused or cycle.disconnected:
        return False
    content = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        content += (name, b": ", value, b"\r\n")
    if not cycle.keep_alive:
        content.append(b"connection: close\r\n")
    content += (b"content-length: %d\r\n\r\n" % len(body), body)
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"".join(content))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def timed(header_timeout_s: float, body_timeout_s: float) -> type[Connection]:
    """The connection class with these times; uvicorn builds connections itself, hence a class."""
    return type(
        "TimedConnection",
        (Connection,),
        {"header_timeout_s": header_timeout_s, "body_timeout_s": body_timeout_s},
    )
