"""Asking a hub over HTTP: blocking, cancellable, and only where it is safe to go.

Addresses are looked up here and the connection goes to the address that was judged, so a name
cannot change its meaning in between. No redirect leads nearer than the hub itself is (from a public
hub never to a private address), and nothing but loopback is asked without TLS. A token goes to the
host it is for and nowhere else.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from enum import IntEnum
from urllib.parse import SplitResult, urljoin, urlsplit

from casona import __version__
from casona.exchange.errors import (
    BadRequest,
    CasonaError,
    Forbidden,
    LimitReached,
    NodeFailed,
    NodeTimedOut,
    NotFound,
)

MOST_REDIRECTS = 8
SMALL_BYTES = 16 * 2**20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Reach(IntEnum):
    """How far away an address is."""

    LOOPBACK = 0
    PRIVATE = 1
    PUBLIC = 2


class Cancelled(CasonaError):
    """The pull was told to stop; what was fetched so far is kept."""

    status = 499

    def __init__(self) -> None:
        super().__init__("the pull was cancelled; pull again and it goes on from here")


class Unreachable(NodeFailed):
    """No connection, or one that broke: worth another try."""


class Cancel:
    """Tells a blocking transfer in another thread to stop, also while it waits for bytes."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def __call__(self) -> None:
        self._event.set()
        with self._lock:
            if self._socket is not None:
                _shut(self._socket)

    @property
    def told(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        if self.told:
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Sleep, unless told to stop. Raises Cancelled."""
        if self._event.wait(seconds):
            raise Cancelled

    def watch(self, connection: socket.socket | None) -> None:
        with self._lock:
            self._socket = connection
            if connection is not None and self._event.is_set():
                _shut(connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """`token` is sent as a Bearer to `token_host` (host or host:port) alone."""

    token: str = ""
    token_host: str = ""
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0

    def get(self, url: str, headers: Mapping[str, str], cancel: Cancel) -> "Answer":
        """The answer to a GET, redirects followed; its status may be any. Close it after use.

        Raises Unreachable, NodeTimedOut, BadRequest for an address that must not be asked, Cancelled.
        """
        reach = _reach_of(_parts(url))
        for _ in range(MOST_REDIRECTS):
            cancel.check()
            answer = self._once(url, headers, reach, cancel)
            target = answer.headers.get("Location", "")
            if answer.status not in _REDIRECTS or not target:
                return answer
            answer.close()
            url = urljoin(url, target)
        raise NodeFailed(f"{_host(url)} redirects without end")

    def get_small(self, url: str, headers: Mapping[str, str], cancel: Cancel) -> "Small":
        """A whole answer of at most 16 MiB. Raises as `get` does."""
        with self.get(url, headers, cancel) as answer:
            return Small(answer.status, answer.headers, answer.read_all(SMALL_BYTES))

    def _once(self, url: str, headers: Mapping[str, str], reach: Reach, cancel: Cancel) -> "Answer":
        parts = _parts(url)
        sent = {
            "User-Agent": f"casona/{__version__}",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **headers,
        }
        if self.token and parts.netloc.lower() == self.token_host.lower():
            sent["Authorization"] = f"Bearer {self.token}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = self._connection(parts, reach)
        try:
            connection.connect()
            cancel.watch(connection.sock)
            connection.request("GET", path, headers=sent)
            return Answer(connection, connection.getresponse(), _host(url), cancel)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            connection.close()
            cancel.check()
            raise failed(_host(url), error) from error

    def _connection(self, parts: SplitResult, reach: Reach) -> "_Pinned":
        addresses = _addresses(parts, reach)
        context = ssl.create_default_context() if parts.scheme == "https" else None
        return _Pinned(parts, addresses, context, self)


class Answer:
    """An answer whose body is read piece by piece; a context manager."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        host: str,
        cancel: Cancel,
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self.host = host
        self._connection = connection
        self._response = response
        self._cancel = cancel

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        """What has come, at most `size` bytes of it; b"" at the end.

        Raises Unreachable when the connection breaks, Cancelled.
        """
        try:
            piece = self._response.read1(size)
        except (OSError, http.client.HTTPException) as error:
            self._cancel.check()
            raise failed(self.host, error) from error
        self._cancel.check()
        return piece

    def read_all(self, most_bytes: int) -> bytes:
        """The whole of it. Raises NodeFailed for more than `most_bytes`, and as `read` does."""
        body = bytearray()
        while piece := self.read(most_bytes + 1 - len(body)):
            body += piece
            if len(body) > most_bytes:
                raise NodeFailed(f"{self.host} answers with more than {most_bytes} bytes")
        return bytes(body)

    def close(self) -> None:
        self._cancel.watch(None)
        self._response.close()
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Small:
    status: int
    headers: Message
    body: bytes


class _Pinned(http.client.HTTPConnection):
    """A connection to addresses that were judged beforehand."""

    def __init__(
        self, parts: SplitResult, addresses: list[tuple[str, int]], context: ssl.SSLContext | None, web: Web
    ) -> None:
        super().__init__(parts.hostname or "", parts.port, timeout=web.read_timeout_s)
        self.default_port = 443 if context else 80
        self.port = parts.port or self.default_port
        self._addresses = addresses
        self._context = context
        self._connect_timeout_s = web.connect_timeout_s

    def connect(self) -> None:
        error: OSError | None = None
        for address in self._addresses:
            try:
                self.sock = socket.create_connection(address, self._connect_timeout_s)
                break
            except OSError as problem:
                error = problem
        else:
            raise error or OSError("it has no address")
        if self._context:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)
        self.sock.settimeout(self.timeout)


def refuse(status: int, host: str, what: str, headers: Message) -> CasonaError:
    """The error for a hub's answer that is not a success."""
    if status in (401, 403):
        return Forbidden(f"{host} does not give {what} without a token that may read it")
    if status == 404:
        return NotFound(f"{host} has no {what}")
    if status == 429:
        wait_s = retry_after_s(headers) or 60.0
        return LimitReached(f"{host} asks to wait {wait_s:.0f} s before the next pull", retry_after_s=wait_s)
    return NodeFailed(f"{host} answered {status} when asked for {what}")


def retry_after_s(headers: Message) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def failed(host: str, error: Exception) -> NodeFailed:
    if isinstance(error, TimeoutError):
        return NodeTimedOut(f"{host} does not answer; check the network and pull again")
    if isinstance(error, ssl.SSLCertVerificationError):
        return NodeFailed(f"{host} has no valid certificate: {error.verify_message}")
    if isinstance(error, socket.gaierror):
        return Unreachable(f"{host} is not found: there is no network, or no such host")
    told = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return Unreachable(f"{host} cannot be reached ({told}); check the network and pull again")


def _addresses(parts: SplitResult, reach: Reach) -> list[tuple[str, int]]:
    """Where to connect. Raises BadRequest when the address must not be asked."""
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise failed(host, error if isinstance(error, OSError) else socket.gaierror(str(error))) from error
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    nearest = min(_reach(address) for address in addresses)
    if parts.scheme == "http" and max(_reach(address) for address in addresses) > Reach.LOOPBACK:
        raise BadRequest(f"{host} is asked over https only")
    if nearest < reach:
        raise BadRequest(f"{host} is a {nearest.name.lower()} address: the hub must not lead there")
    return [(address, port) for address in addresses]


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise BadRequest(f"{url[:200]!r} is not an address that models are fetched from")
    return parts


def _reach_of(parts: SplitResult) -> Reach:
    """How far the hub itself is: what it leads to may not be nearer."""
    return min(_reach(address) for address, _ in _addresses(parts, Reach.LOOPBACK))


def _reach(address: str) -> Reach:
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
    if ip.is_loopback:
        return Reach.LOOPBACK
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _shut(connection: socket.socket) -> None:
    """Wake the thread that reads; by the plain socket's method, as TLS's would change state under it."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return
