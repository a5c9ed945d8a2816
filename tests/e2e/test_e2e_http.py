"""HTTP as it is really spoken: offers to upgrade, requests in a row, endless headers, a house that closes."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from tests.e2e.conftest import Open, Running

ASK = json.dumps({"model": "nope", "messages": [{"role": "user", "content": "hi"}]}).encode()
OFFER = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


@pytest.fixture
def house(open_house: Open) -> Running:
    return open_house(engine={"enabled": False})


@contextmanager
def line_to(house: Running) -> Iterator[socket.socket]:
    parts = urlsplit(house.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
        yield line


def request(house: Running, start: str, *, headers: str = "", body: bytes = b"") -> bytes:
    head = f"{start}\r\nhost: x\r\nauthorization: Bearer {house.api_key}\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def statuses(told: bytes) -> list[int]:
    return [int(part[:3]) for part in told.split(b"HTTP/1.1 ")[1:]]


def told_until_closed(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(65536), b""))


@pytest.mark.parametrize("cut", [0, 30, 150, -3])
def test_an_offer_of_http2_is_left_alone_and_the_body_is_read(house: Running, cut: int) -> None:
    """As Java's client makes it with each request."""
    ask = request(house, "POST /v1/chat/completions HTTP/1.1", headers=OFFER, body=ASK)
    last = request(house, "GET /v1/models HTTP/1.1", headers="connection: close, Upgrade\r\nupgrade: h2c\r\n")
    with line_to(house) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(ask[:cut])
        line.sendall(ask[cut:] + ask + last)
        told = told_until_closed(line)
    assert statuses(told) == [404, 404, 200]
    assert told.count(b"the model 'nope' does not exist") == 2


def test_requests_in_a_row_are_answered_in_a_row(house: Running) -> None:
    row = request(house, "GET /v1/models HTTP/1.1") * 3 + request(
        house, "POST /v1/chat/completions HTTP/1.1", headers="connection: close\r\n", body=ASK
    )
    with line_to(house) as line:
        line.sendall(row)
        assert statuses(told_until_closed(line)) == [200, 200, 200, 404]


def test_headers_without_end_are_refused(house: Running) -> None:
    with line_to(house) as line, pytest.raises(OSError, match=r"reset|pipe"):
        for _ in range(1000):
            line.sendall(b"GET / HTTP/1.1\r\nx: " + b"a" * 65536)
    with line_to(house) as line:
        line.sendall(b"GET /" + b"a" * 140_000)
        told = told_until_closed(line)
    assert statuses(told) == [431]
    assert json.loads(told.split(b"\r\n\r\n")[1])["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "start", ["CONNECT a:80 HTTP/1.1", "CONNECT a:80 HTTP/1.1\r\nupgrade: h2c", "GET / HTTQ/1.1", "\0"]
)
def test_what_is_no_request_is_refused_in_the_dialect(house: Running, start: str) -> None:
    with line_to(house) as line:
        line.sendall(f"{start}\r\nhost: x\r\n\r\n".encode())
        told = told_until_closed(line)
    assert statuses(told) == [400]
    assert json.loads(told.split(b"\r\n\r\n")[1])["error"]["type"] == "invalid_request_error"


def test_empty_lines_do_not_keep_a_connection(open_house: Open) -> None:
    house = open_house(engine={"enabled": False}, server={"keep_alive_s": 1})
    with line_to(house) as line:
        line.sendall(request(house, "GET /health HTTP/1.1") + b"\r\n")
        line.sendall(b"\r\n")
        assert statuses(told_until_closed(line)) == [200]


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models"])
def test_head_gives_what_get_gives_without_the_body(house: Running, path: str) -> None:
    with line_to(house) as line:
        line.sendall(request(house, f"HEAD {path} HTTP/1.1", headers="connection: close\r\n"))
        told = told_until_closed(line)
    assert statuses(told) == [200]
    assert told.endswith(b"\r\n\r\n")


class Silent:
    """A node that takes requests and never answers; `body` is what it begins a stream with."""

    def __init__(self, begins_with: bytes) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._begins_with = begins_with
        self._lines: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            self._lines.append(line)
            line.recv(65536)
            line.sendall(self._begins_with)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for line in [self._listening, *self._lines]:
            line.close()


CONTENT = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
BEGUN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(CONTENT), CONTENT)


@pytest.mark.parametrize(("begins_with", "status"), [(BEGUN, 200), (b"", 503)], ids=["streaming", "waiting"])
def test_a_house_that_closes_cuts_off_what_does_not_end(
    open_house: Open, caplog: pytest.LogCaptureFixture, begins_with: bytes, status: int
) -> None:
    node = Silent(begins_with)
    settings = {"name": "a", "kind": "vllm", "url": f"http://127.0.0.1:{node.port}/v1", "models": ["m"]}
    house = open_house(engine={"enabled": False}, server={"stop_timeout_s": 1}, nodes=[settings])
    ask = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()
    with line_to(house) as line:
        line.sendall(request(house, "POST /v1/chat/completions HTTP/1.1", body=ask))
        if begins_with:
            assert b"Hello" in line.recv(65536)
        else:
            until(lambda: house.house.catalog.states[0].in_flight == 1)
        house.stop()
        told = told_until_closed(line)
    node.close()
    assert begins_with or statuses(told) == [status]
    assert "Exception" not in caplog.text
    assert house.house.catalog.states[0].in_flight == 0


class Flood(Silent):
    """A node whose answer never ends; `sent` counts the pieces that were taken from it."""

    sent = 0

    def _run(self) -> None:
        line, _ = self._listening.accept()
        self._lines.append(line)
        line.recv(65536)
        piece = b"%x\r\n%b\r\n" % (len(CONTENT) * 1000, CONTENT * 1000)
        with suppress(OSError):
            line.sendall(self._begins_with)
            while True:
                line.sendall(piece)
                self.sent += 1


def test_a_client_that_does_not_read_holds_the_node_up_and_not_the_closing(open_house: Open) -> None:
    node = Flood(BEGUN)
    settings = {"name": "a", "kind": "vllm", "url": f"http://127.0.0.1:{node.port}/v1", "models": ["m"]}
    house = open_house(engine={"enabled": False}, server={"stop_timeout_s": 1}, nodes=[settings])
    ask = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()
    with line_to(house) as line:
        line.sendall(request(house, "POST /v1/chat/completions HTTP/1.1", body=ask))
        until(lambda: node.sent > 0)
        until(lambda: stands_still(lambda: node.sent))
        assert node.sent * len(CONTENT) * 1000 < 64 * 2**20
        house.stop()
        assert house.house.catalog.states[0].in_flight == 0
    node.close()


def stands_still(count: Callable[[], int]) -> bool:
    before = count()
    time.sleep(0.3)
    return count() == before


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
