"""Objects out of a streamed answer: server-sent events or one JSON object a line."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

from casona.cli.output import CliError

CHUNK_BYTES = 64 * 1024


def events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Every object of the answer, in order, until it ends. Raises CliError for one that is an error."""
    kind = response.headers.get_content_type()
    texts = _server_sent(_lines(response)) if kind == "text/event-stream" else _lines(response)
    for text in texts:
        if text == b"[DONE]":
            return
        if text.strip():
            yield _checked(text)


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    rest = b""
    while chunk := response.read1(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
    if rest:
        yield rest


def _server_sent(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each event. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    data: list[bytes] = []
    for line in lines:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []


def _checked(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as fault:
        raise CliError("the server's answer is not JSON; is it Casona?") from fault
    if not isinstance(said, dict):
        raise CliError("the server's answer is not what it should be; is it Casona?")
    error = said.get("error")
    if error:
        message = error.get("message") if isinstance(error, dict) else error
        raise CliError(" ".join(str(message).split()))
    return said
