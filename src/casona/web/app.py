"""The front door: finds the route, or hands over to the rooms behind it.

Chat, models and health are plain ASGI. The library's and the administration's routes are
FastAPI (`rooms`), loaded on first need: they cost memory that an idle gateway should not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from casona.dialects import openai_answer
from casona.exchange.errors import BadRequest, CasonaError, NoNodeReady, NotFound
from casona.exchange.keys import Key
from casona.web.asgi import (
    JSON,
    App,
    Headers,
    HungUp,
    Receive,
    Scope,
    Send,
    header,
    new_request_id,
    send_whole,
)
from casona.web.chat import UNEXPECTED
from casona.web.connection import KEY, Connection

log = logging.getLogger(__name__)

ROOMS = ("/rag/", "/library/", "/admin/", "/docs", "/openapi.json")

Rooms = Callable[[], Awaitable[App]]
Identify = Callable[[Scope], Key]


class FrontDoor:
    """`hot` and `exact` map (method, path) to handlers, `prefixes` (method, prefix) to those that read
    the rest of the path. The hot ones see to their errors themselves.
    """

    def __init__(
        self,
        hot: Mapping[tuple[str, str], App],
        exact: Mapping[tuple[str, str], App],
        prefixes: Mapping[tuple[str, str], App],
        rooms: Rooms,
        *,
        identify: Identify,
        cors_origins: Sequence[str],
    ) -> None:
        self.identify = identify
        self.hot = dict(hot)
        self.exact = dict(exact)
        self.prefixes = dict(prefixes)
        self.rooms = rooms
        self.origins = frozenset(cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self.origins:
            send = self._with_cors(scope, send)
        handler = self.hot.get((scope["method"], scope["path"]))
        try:
            if handler is not None:
                await handler(scope, receive, send)
            else:
                await self._guarded(self._other, scope, receive, send)
        except asyncio.CancelledError:
            connection: Connection | None = scope.get(KEY)
            if connection is None:
                raise
            if connection.hung_up:
                log.debug("%s: the client hung up", scope["path"])
            elif connection.answering:
                connection.cut_off()
            else:
                await refuse(NoNodeReady("the house is closing; ask again when it is back"), send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], plain_path(scope["path"])
        if method == "OPTIONS":
            await self._preflight(scope, send)
            return
        wanted = "GET" if method == "HEAD" else method  # uvicorn leaves the body out
        handler = self.hot.get((wanted, path)) or self.exact.get((wanted, path))
        handler = handler or self._by_prefix(scope, wanted, path)
        if handler is None:
            self.identify(scope)  # strangers are not told what is here
        if handler is None and (path + "/").startswith(ROOMS):
            handler = await self.rooms()
            scope["path"], scope["raw_path"] = path, path.encode()
        if handler is None:
            raise self._unknown(method, path)
        await handler(scope, receive, send)

    def _by_prefix(self, scope: Scope, method: str, path: str) -> App | None:
        for (wanted, prefix), handler in self.prefixes.items():
            if method == wanted and path.startswith(prefix) and len(path) > len(prefix):
                raw_path = plain_path(scope["raw_path"].decode("latin-1"))
                scope["casona.rest"] = _decoded(raw_path[len(prefix) :])
                return handler
        return None

    def _unknown(self, method: str, path: str) -> CasonaError:
        others = sorted({wanted for wanted, known in [*self.hot, *self.exact] if known == path})
        if others:
            error: CasonaError = MethodNotAllowed(f"{method} is not for {path}; use {' or '.join(others)}")
        else:
            error = NotFound(f"there is nothing at {path}")
        return error

    async def _guarded(self, handler: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a handler that is not on the hot path: its errors in OpenAI's shape."""
        try:
            await handler(scope, receive, send)
        except CasonaError as error:
            await refuse(error, send)
        except HungUp:
            log.debug("%s: the client left before its request was whole", scope["path"])
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            await refuse(CasonaError(UNEXPECTED), send)

    async def _preflight(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _with_cors(self, scope: Scope, send: Send) -> Send:
        origin = header(scope, b"origin")
        if not origin or not ("*" in self.origins or origin.decode("latin-1") in self.origins):
            return send
        headers = _cors_headers(origin, preflight=scope["method"] == "OPTIONS")

        async def send_with_cors(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *headers]  # type: ignore[misc]
            await send(message)

        return send_with_cors  # type: ignore[return-value]


class MethodNotAllowed(BadRequest):
    status = 405


def plain_path(path: str) -> str:
    """Aliases as one path: no trailing slash, no doubled `/v1` or slashes, `/chat/…` as `/v1/chat/…`."""
    while "//" in path:
        path = path.replace("//", "/")
    while path.startswith("/v1/v1/"):
        path = path[3:]
    if path.startswith(("/chat/", "/models", "/embeddings")):
        path = "/v1" + path
    return path.rstrip("/") or "/"


async def refuse(error: CasonaError, send: Send) -> None:
    """Answer with an error in OpenAI's shape."""
    headers: Headers = [(b"content-type", JSON), (b"x-request-id", new_request_id().encode())]
    headers += [(name.encode(), value.encode()) for name, value in openai_answer.error_headers(error).items()]
    await send_whole(send, error.status, headers, msgspec.json.encode(openai_answer.error_body(error)))


def _decoded(rest: str) -> str:
    try:
        return unquote_to_bytes(rest).decode()
    except UnicodeDecodeError as fault:
        raise BadRequest("the path is not UTF-8") from fault


def _cors_headers(origin: bytes, *, preflight: bool) -> Headers:
    headers = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
    if preflight:
        headers += [
            (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
            (b"access-control-allow-headers", b"authorization, content-type, x-api-key, *"),
            (b"access-control-max-age", b"600"),
        ]
    else:
        headers.append((b"access-control-expose-headers", b"*"))
    return headers
