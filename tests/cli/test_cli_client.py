"""The client of the command line against servers that answer, stall and break off."""

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from casona.cli.client import Client
from casona.cli.output import CliError


class Peer:
    """A server that does what `answer` says and remembers what it was sent."""

    def __init__(self) -> None:
        self.answer: Callable[[BaseHTTPRequestHandler], None] = says({})
        self.asked: list[tuple[str, str, str | None]] = []
        self.bodies: list[bytes] = []
        self.hung_up = threading.Event()
        self.url = ""


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            peer.asked.append((self.command, self.path, self.headers["Authorization"]))
            peer.answer(self)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    peer.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield peer
    server.shutdown()
    thread.join()
    server.server_close()


def says(value: Any, status: int = 200, *, content_type: str = "application/json") -> Callable[..., None]:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers["Content-Length"] or 0))
        request.send_response(status)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def streams(
    *pieces: bytes, content_type: str = "text/event-stream", whole: bool = True
) -> Callable[..., None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for piece in pieces:
            request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if whole:
            request.wfile.write(b"0\r\n\r\n")
        request.close_connection = True

    return answer


def complaint(ask: Callable[[], object]) -> str:
    with pytest.raises(CliError) as told:
        ask()
    return str(told.value)


def test_json_goes_there_and_back(peer: Peer) -> None:
    peer.answer = says({"name": "Señor"})
    client = Client(peer.url + "/", "csn-x")
    assert client.get_json("/admin/usage", by="key", since=None) == {"name": "Señor"}
    assert client.post_json("/admin/keys", {"name": "ñ"}) == {"name": "Señor"}
    assert client.delete("/library/documents/1", really="yes") == {"name": "Señor"}
    assert peer.asked == [
        ("GET", "/admin/usage?by=key", "Bearer csn-x"),
        ("POST", "/admin/keys", "Bearer csn-x"),
        ("DELETE", "/library/documents/1?really=yes", "Bearer csn-x"),
    ]


def test_a_house_behind_a_path_is_reached(peer: Peer) -> None:
    Client(peer.url + "/casona/", "").get_json("/health")
    assert peer.asked == [("GET", "/casona/health", None)]


def test_an_empty_answer_is_none(peer: Peer) -> None:
    peer.answer = says(b"")
    assert Client(peer.url, "").delete("/x") is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no such\nmodel"}}, "no such model"),
        ({"error": "no such model"}, "no such model"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"error": {}}, "the server answered 404 Not Found"),
        ([], "the server answered 404 Not Found"),
        (b"<html>", "the server answered 404 Not Found"),
    ],
)
def test_an_error_is_told_in_the_servers_words(peer: Peer, body: Any, message: str) -> None:
    peer.answer = says(body, 404)
    assert complaint(lambda: Client(peer.url, "").get_json("/x")) == message


def test_an_answer_that_is_not_json_is_told(peer: Peer) -> None:
    peer.answer = says(b"<html>", content_type="text/html")
    assert complaint(lambda: Client(peer.url, "").get_json("/x")) == (
        "the server's answer is not JSON; is it Casona?"
    )


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert complaint(lambda: Client(url, "").get_json("/x")) == (
        f"no server answers at {url}: Connection refused"
    )


def test_a_server_that_never_answers_is_given_up(peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        assert complaint(lambda: Client(url, "", timeout_s=0.05).get_json("/x")) == (
            f"the server at {url} broke off: it takes too long"
        )


SSE = b': ping\n\nevent: x\r\ndata: {"n": 1}\r\n\r\ndata: {"n":\ndata:  2}\n\ndata: [DONE]\n\ndata: {}\n\n'


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_server_sent_events_come_one_by_one(peer: Peer, size: int) -> None:
    peer.answer = streams(*(SSE[start : start + size] for start in range(0, len(SSE), size)))
    assert list(Client(peer.url, "").stream_lines("/x", {})) == [{"n": 1}, {"n": 2}]


def test_lines_of_json_come_one_by_one(peer: Peer) -> None:
    peer.answer = streams(
        b'{"n": 1}\n{"n"', b': "\xc3', b'\xb1"}\n\n{"n": 3}', content_type="application/x-ndjson"
    )
    assert list(Client(peer.url, "").stream_lines("/x", {})) == [{"n": 1}, {"n": "ñ"}, {"n": 3}]


@pytest.mark.parametrize("error", [{"message": "the engine\ncrashed"}, "the engine crashed"])
def test_an_error_in_the_stream_ends_it(peer: Peer, error: object) -> None:
    peer.answer = streams(b'data: {"n": 1}\n\n', b"data: %s\n\n" % json.dumps({"error": error}).encode())
    stream = Client(peer.url, "").stream_lines("/x", {})
    assert next(stream) == {"n": 1}
    assert complaint(lambda: next(stream)) == "the engine crashed"


def test_a_stream_that_breaks_off_is_an_error(peer: Peer) -> None:
    peer.answer = streams(b'data: {"n": 1}\n\n', whole=False)
    stream = Client(peer.url, "").stream_lines("/x", {})
    assert next(stream) == {"n": 1}
    assert complaint(lambda: next(stream)) == f"the server at {peer.url} broke off: the answer is not whole"


def test_closing_a_stream_hangs_up(peer: Peer) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        streams(b'data: {"n": 1}\n\n', whole=False)(request)
        request.rfile.read(int(request.headers["Content-Length"]))
        if request.rfile.read(1) == b"":
            peer.hung_up.set()

    peer.answer = answer
    stream = Client(peer.url, "").stream_lines("/x", {})
    assert next(stream) == {"n": 1}
    stream.close()
    assert peer.hung_up.wait(10)


def remembered(peer: Peer) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        peer.bodies.append(request.rfile.read(int(request.headers["Content-Length"])))
        request.headers.replace_header("Content-Length", "0")
        says({"outcome": "stored"})(request)

    return answer


def test_a_file_is_uploaded_with_its_fields(peer: Peer, tmp_path: Path) -> None:
    peer.answer = remembered(peer)
    content = bytes(range(256)) * 4096
    (tmp_path / "a.pdf").write_bytes(content)
    steps: list[int] = []
    with (tmp_path / "a.pdf").open("rb") as file:
        told = Client(peer.url, "csn-x").upload(
            "/rag/upload", file, name='año "1".pdf', fields={"collection": "casa"}, progress=steps.append
        )
    body = peer.bodies[0]
    boundary = body.partition(b"\r\n")[0]
    assert (told, sum(steps)) == ({"outcome": "stored"}, len(content))
    assert body == (
        boundary
        + b'\r\nContent-Disposition: form-data; name="collection"\r\n\r\ncasa\r\n'
        + boundary
        + '\r\nContent-Disposition: form-data; name="file"; filename="año %221%22.pdf"\r\n'.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + content
        + b"\r\n"
        + boundary
        + b"--\r\n"
    )


def test_an_upload_refused_before_it_was_read_says_why(peer: Peer) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.headers.replace_header("Content-Length", "0")
        says({"error": {"message": "the file is too large"}}, 413)(request)
        request.close_connection = True  # with most of the file unread, which resets the connection

    peer.answer = answer
    large = io.BytesIO(b"x" * 8 * 2**20)
    assert complaint(lambda: Client(peer.url, "").upload("/x", large, name="a")) == "the file is too large"


def test_a_file_that_shrinks_while_it_is_sent_is_told(peer: Peer) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b""

    peer.answer = remembered(peer)
    assert complaint(lambda: Client(peer.url, "").upload("/x", Shrinking(b"abc"), name="a")) == (
        "the file became shorter while it was sent"
    )
