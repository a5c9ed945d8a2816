"""A small HTTP client for commands: JSON there and back, streams, uploads; errors as one line.

A connection for each request: nothing is kept that could go stale while a person thinks.
"""

import http.client
import io
import json
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO
from urllib.parse import urlencode, urlsplit

from casona.cli.output import CliError
from casona.cli.stream import events

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 900.0  # a large model loads in minutes, a large document is read in some
CHUNK_BYTES = 256 * 1024
MAX_ERROR_BYTES = 64 * 1024

Progress = Callable[[int], None]


class Client:
    """Requests to the server at `url`, from any thread.

    Every method raises CliError with the server's own words; its `status` is the server's.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key
        self._timeout_s = timeout_s
        self._lines: set[socket.socket] = set()

    def hang_up(self) -> None:
        """Break off all requests under way, whichever thread waits for them."""
        for line in tuple(self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def get_json(self, path: str, **query: str | float | None) -> Any:
        return self._exchange("GET", path, query)

    def delete(self, path: str, **query: str | float | None) -> Any:
        return self._exchange("DELETE", path, query)

    def post_json(self, path: str, body: Any) -> Any:
        return self._exchange("POST", path, {}, _encoded(body))

    def stream_lines(self, path: str, body: Any = None, *, method: str = "POST") -> Iterator[dict[str, Any]]:
        """The objects of a streamed answer, SSE or NDJSON, as they come.

        Closing the generator hangs up, which stops the work on the server.
        """
        content = None if body is None else _encoded(body)
        with self._answer(method, path, content, _JSON_SENT if content else {}) as response:
            yield from events(response)

    def upload(
        self,
        path: str,
        file: BinaryIO,
        *,
        name: str,
        fields: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """Send a file, from its start, as multipart field `file`.

        `progress` is told how many more bytes of it have gone.
        """
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        boundary = secrets.token_hex(16)
        head, tail = _around_file(boundary, name, fields or {})
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size_bytes + len(tail)),
        }
        body = _body(head, file, tail, size_bytes, progress or _ignore)
        with self._answer("POST", path, body, headers) as response:
            return _decoded(response.read())

    def put_file(
        self,
        path: str,
        file: BinaryIO,
        *,
        progress: Progress | None = None,
        **query: str | float | None,
    ) -> Any:
        """Send a file, from its start, as the whole body; `progress` as in `upload`."""
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        body = _body(b"", file, b"", size_bytes, progress or _ignore)
        with self._answer("PUT", _with_query(path, query), body, headers) as response:
            return _decoded(response.read())

    def _exchange(
        self, method: str, path: str, query: Mapping[str, str | float | None], content: bytes | None = None
    ) -> Any:
        with self._answer(
            method, _with_query(path, query), content, _JSON_SENT if content else {}
        ) as response:
            return _decoded(response.read())

    @contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        try:
            connection = self._connected()
        except OSError as fault:
            raise CliError(f"no server answers at {self.url}: {_reason(fault)}") from fault
        line = connection.sock
        self._lines.add(line)
        try:
            yield self._sent(connection, method, path, body, headers)
        except (OSError, http.client.HTTPException) as fault:
            raise CliError(f"the server at {self.url} broke off: {_reason(fault)}") from fault
        finally:
            self._lines.discard(line)
            with suppress(OSError):  # a response that is still open would keep the connection
                line.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=CONNECT_TIMEOUT_S, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=CONNECT_TIMEOUT_S)
        connection.connect()
        connection.sock.settimeout(self._timeout_s)
        return connection

    def _sent(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        target = urlsplit(self.url).path + path
        # Refused before it was read to its end: the answer, which is there already, says why.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body, {**headers, **key, "Connection": "close"})
        response = connection.getresponse()
        if response.status >= http.client.BAD_REQUEST:
            complaint = CliError(_complaint(response))
            complaint.status = response.status
            raise complaint
        return response


_JSON_SENT = {"Content-Type": "application/json"}


def _with_query(path: str, query: Mapping[str, str | float | None]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _encoded(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError as fault:
        raise CliError("the server's answer is not JSON; is it Casona?") from fault


def _complaint(response: http.client.HTTPResponse) -> str:
    """The message in an error's body, whichever dialect it is in."""
    raw = response.read(MAX_ERROR_BYTES)
    with suppress(ValueError):
        said = json.loads(raw)
        error = said.get("error", said.get("detail")) if isinstance(said, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        if message:
            return " ".join(str(message).split())
    return f"the server answered {response.status} {response.reason}"


def _reason(fault: Exception) -> str:
    if isinstance(fault, TimeoutError):
        return "it takes too long"
    if isinstance(fault, http.client.IncompleteRead):
        return "the answer is not whole"
    return getattr(fault, "strerror", None) or str(fault) or type(fault).__name__


def _around_file(boundary: str, name: str, fields: Mapping[str, str]) -> tuple[bytes, bytes]:
    """What goes before and after a file. Source: RFC 7578; names as in WHATWG's multipart/form-data."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(field)}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(name)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode()


def _quoted(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _body(head: bytes, file: BinaryIO, tail: bytes, size_bytes: int, progress: Progress) -> Iterator[bytes]:
    yield head
    left = size_bytes
    while left:
        chunk = file.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise CliError("the file became shorter while it was sent")
        yield chunk
        left -= len(chunk)
        progress(len(chunk))
    yield tail


def _ignore(_count: int) -> None: ...
