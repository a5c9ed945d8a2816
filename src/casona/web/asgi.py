"""Reading requests and writing answers over plain ASGI."""

import itertools
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from casona.exchange.errors import TooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"

_process = os.urandom(8).hex()
_numbers = itertools.count(1)


def new_request_id() -> str:
    """An id no other request has, here or after a restart; it is no secret, so a counter will do."""
    return f"req_{_process}{next(_numbers):08x}"


class HungUp(Exception):
    """The client left before its request was whole."""


async def read_body(scope: Scope, receive: Receive, *, limit_bytes: int) -> bytes:
    """The whole body. Raises TooLarge beyond `limit_bytes`, HungUp when the client left."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise HungUp
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        _check(len(body), limit_bytes)
        return body
    declared = header(scope, b"content-length")
    if declared.isdigit():
        _check(int(declared), limit_bytes)
    pieces = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        _check(size, limit_bytes)
    return b"".join(pieces)


def header(scope: Scope, name: bytes) -> bytes:
    """The first header called `name` (lower case), or b""."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise TooLarge(
            f"the body has {size} bytes or more and the limit is {limit_bytes} (server.max_body_bytes)"
        )
