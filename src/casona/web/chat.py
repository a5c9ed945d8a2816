"""The chat door: from an HTTP request to the desk and back. The hot path; no framework."""

import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from casona.dialects.base import Dialect
from casona.exchange.errors import CasonaError, NodeFailed, NodeRefused
from casona.exchange.keys import Key
from casona.serve import Answer
from casona.tally import Call
from casona.web.asgi import JSON, Headers, HungUp, Receive, Scope, Send, new_request_id, read_body, send_whole
from casona.web.connection import answer_at_once

UNEXPECTED = "something went wrong in the house; its log says what"

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")

log = logging.getLogger(__name__)

Identify = Callable[[Scope], Key]
Run = Callable[[Call], Awaitable[Answer]]


class ChatDoor:
    """One dialect's route: `run` answers its requests. `route` is what the records call it."""

    def __init__(
        self,
        run: Run,
        dialect: Dialect,
        identify: Identify,
        *,
        max_body_bytes: int,
        route: str = "",
    ) -> None:
        self.run = run
        self.dialect = dialect
        self.route = route or dialect.name
        self.identify = identify
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_request_id()
        try:
            await self._answer(request_id, scope, receive, send)
        except CasonaError as error:
            await self._refuse(request_id, error, send)
        except HungUp:
            log.debug("%s: the client left before its request was whole", request_id)
        except Exception:
            log.exception("%s failed", request_id)
            await self._refuse(request_id, CasonaError(UNEXPECTED), send)

    async def _answer(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        key = self.identify(scope)
        raw = await read_body(scope, receive, limit_bytes=self.max_body_bytes)
        answer = await self.run(Call(request_id, key, self.route, raw))
        headers = answer_headers(answer)
        if isinstance(answer.body, bytes):
            if not answer_at_once(send, 200, headers, answer.body):
                await send_whole(send, 200, headers, answer.body)
            return
        try:
            async with aclosing(answer.body) as pieces:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Exception:  # the status is spent, so this edge is here
            log.exception("%s broke in its stream", request_id)
            last = self.dialect.error_event(CasonaError(UNEXPECTED))
        else:
            last = b""
        await send({"type": "http.response.body", "body": last})

    async def _refuse(self, request_id: str, error: CasonaError, send: Send) -> None:
        headers: Headers = [(b"content-type", JSON), (b"x-request-id", request_id.encode())]
        for name, value in self.dialect.error_headers(error).items():
            headers.append((name.encode(), value.encode()))
        if isinstance(error, NodeRefused) and error.body and error.dialect == self.route:
            body = error.body
        else:
            body = self.dialect.error_body(error)
        if error.status >= 500:
            log.warning("%s: %s", request_id, error.fact if isinstance(error, NodeFailed) else error)
        await send_whole(send, error.status, headers, body)


def answer_headers(answer: Answer) -> Headers:
    """What every answer says of itself."""
    tally = answer.tally
    headers = [
        (b"content-type", answer.content_type),
        (b"x-request-id", tally.call.id.encode()),
        (b"x-casona-queue-ms", b"%d" % (tally.queued_s * 1000)),
    ]
    if tally.place is not None:
        headers.append((b"x-casona-node", tally.place.state.name.encode()))
        headers.append((b"x-casona-zone", tally.place.zone_name))
    if not isinstance(answer.body, bytes):
        headers.append((b"cache-control", b"no-cache"))
        headers.append((b"x-accel-buffering", b"no"))
    headers += [(b"x-casona-warning", _header_text(warning)) for warning in tally.warnings[:20]]
    return headers


def _header_text(text: str) -> bytes:
    """As a header may hold it: one line of visible ASCII."""
    return _CONTROLS.sub(b" ", text.encode("ascii", "backslashreplace"))[:500]
