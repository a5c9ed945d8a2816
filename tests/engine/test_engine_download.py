"""One file, from a hub whose connections are cut, whose answers are wrong, and whose redirects go astray."""

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.engine import hub_server
from tests.engine.hub_server import Hub, sha256

from casona.engine.hub import download, web
from casona.engine.hub.download import Download, Patience, WrongContent, check_space
from casona.engine.hub.offer import Item, single
from casona.engine.hub.web import Cancel, Cancelled, Web
from casona.exchange.errors import BadRequest, Forbidden, LimitReached, NodeFailed, NotFound, OutOfSpace

CONTENT = bytes(range(256)) * 16_384  # 4 MiB, so that a cut falls between pieces
DIGEST = sha256(CONTENT)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.running() as hub:
        hub.blobs[DIGEST] = CONTENT
        yield hub


class Attempt(NamedTuple):
    item: Item
    download: Download
    told: list[int]

    @property
    def target(self) -> Path:
        return self.download.models_dir / self.item.place

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + ".partial")

    def fetch(self) -> Path:
        return self.download.fetch(self.item, self.told.append)


@pytest.fixture
def attempt(hub: Hub, tmp_path: Path) -> Attempt:
    url = f"{hub.url}/v2/library/m/blobs/sha256:{DIGEST}"
    item = Item(url=url, digest=DIGEST, size_bytes=len(CONTENT), role="model", place=single(DIGEST))
    patience = Patience(tries=3, wait_s=0.01)
    return Attempt(item, Download(web=Web(), models_dir=tmp_path, cancel=Cancel(), patience=patience), [])


def test_a_file_comes_whole(attempt: Attempt) -> None:
    path = attempt.fetch()
    assert path.read_bytes() == CONTENT
    assert attempt.told[0] == 0
    assert attempt.told[-1] == len(CONTENT)
    assert attempt.told == sorted(attempt.told)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_there_is_not_fetched_again(hub: Hub, attempt: Attempt) -> None:
    attempt.fetch()
    hub.asked.clear()
    attempt.fetch()
    assert hub.asked == []


def test_a_cut_connection_goes_on_where_it_was(hub: Hub, attempt: Attempt) -> None:
    hub.cuts = [1_500_000, 600_000]
    assert attempt.fetch().read_bytes() == CONTENT
    starts = [int(range_.removeprefix("bytes=").rstrip("-") or 0) for _, range_ in hub.fetched()]
    assert starts == [0, 1_500_000, 2_100_000]


def test_a_hub_that_stays_away_is_given_up_and_taken_up_later(hub: Hub, attempt: Attempt) -> None:
    hub.cuts = [3_000_000, 0, 0, 0]
    with pytest.raises(NodeFailed, match=r"ends too soon|cannot be reached"):
        attempt.fetch()
    assert attempt.partial.stat().st_size == 3_000_000
    hub.cuts, hub.asked = [], []
    assert attempt.fetch().read_bytes() == CONTENT
    assert [range_ for _, range_ in hub.fetched()] == ["bytes=3000000-"]


def test_a_hub_that_ignores_ranges_starts_again(hub: Hub, attempt: Attempt) -> None:
    hub.cuts, hub.knows_ranges = [1_500_000], False
    assert attempt.fetch().read_bytes() == CONTENT


def test_a_file_that_changed_under_the_same_name_starts_again(hub: Hub, attempt: Attempt) -> None:
    hub.etag = '"one"'
    hub.cuts = [2_000_000, 0, 0, 0]
    with pytest.raises(NodeFailed):
        attempt.fetch()
    hub.cuts, hub.etag = [], '"two"'
    assert attempt.fetch().read_bytes() == CONTENT
    assert [range_ for _, range_ in hub.fetched()][-2:] == ["bytes=2000000-", ""]


def test_leftovers_of_another_file_are_not_continued(hub: Hub, attempt: Attempt) -> None:
    attempt.partial.parent.mkdir()
    attempt.partial.write_bytes(b"x" * 1000)
    assert attempt.fetch().read_bytes() == CONTENT
    assert [range_ for _, range_ in hub.fetched()] == [""]


def test_leftovers_that_rotted_are_fetched_anew(hub: Hub, attempt: Attempt) -> None:
    attempt.partial.parent.mkdir()
    attempt.partial.write_bytes(b"x" * 1000)
    attempt.partial.with_name(attempt.partial.name + ".json").write_text(json.dumps({"digest": DIGEST}))
    assert attempt.fetch().read_bytes() == CONTENT
    assert [range_ for _, range_ in hub.fetched()] == ["bytes=1000-", ""]


def test_wrong_content_is_refused_and_not_kept(hub: Hub, attempt: Attempt) -> None:
    hub.blobs[DIGEST] = CONTENT[:-1] + b"?"
    with pytest.raises(WrongContent, match=r"came with wrong content"):
        attempt.fetch()
    assert list(attempt.target.parent.iterdir()) == []


def test_more_than_was_promised_is_refused(hub: Hub, attempt: Attempt) -> None:
    hub.blobs[DIGEST] = CONTENT + b"more"
    with pytest.raises(WrongContent, match=r"sends more"):
        attempt.fetch()
    assert list(attempt.target.parent.iterdir()) == []


def test_a_busy_hub_is_asked_again(hub: Hub, attempt: Attempt) -> None:
    hub.statuses = [500, 429]
    assert attempt.fetch().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFound), (401, Forbidden), (403, Forbidden), (429, LimitReached), (503, NodeFailed)],
)
def test_a_refusal_is_told(hub: Hub, attempt: Attempt, status: int, error: type[Exception]) -> None:
    hub.statuses = [status] * 5
    with pytest.raises(error, match=r"127.0.0.1"):
        attempt.fetch()


def test_a_cancelled_transfer_stops_while_it_waits_and_keeps_what_came(hub: Hub, attempt: Attempt) -> None:
    hub.gate = threading.Event()
    arrived = threading.Event()
    failure: list[BaseException] = []

    def fetch() -> None:
        try:
            attempt.download.fetch(attempt.item, lambda count: arrived.set() if count == 1024 else None)
        except Cancelled as error:
            failure.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    assert arrived.wait(10)
    attempt.download.cancel()
    thread.join(10)
    assert [str(error) for error in failure] == [
        "the pull was cancelled; pull again and it goes on from here"
    ]
    assert attempt.partial.read_bytes() == CONTENT[:1024]
    assert not attempt.target.exists()


def test_without_room_nothing_is_fetched(hub: Hub, attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = download.shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)  # type: ignore[attr-defined]
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutOfSpace, match=r"has 0.0 GB free and this needs 0.0 GB \(and 0.3 GB to spare\)"):
        attempt.fetch()
    assert hub.fetched() == []


def test_room_is_counted_with_something_to_spare(tmp_path: Path) -> None:
    free = download.shutil.disk_usage(tmp_path).free
    check_space(tmp_path, 0, 1)
    with pytest.raises(OutOfSpace):
        check_space(tmp_path, free, 10**9)


def test_a_full_disk_is_told(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(OutOfSpace, match=r"the disk is full"):
        attempt.fetch()
    assert not attempt.target.exists()


# Where a hub may lead


def resolving(monkeypatch: pytest.MonkeyPatch, names: dict[str, str]) -> list[tuple[str, int]]:
    """Give names addresses of our choice; connections are noted and refused."""
    tried: list[tuple[str, int]] = []
    known = web.socket.getaddrinfo

    def look_up(host: str, port: int, **options: int) -> list[tuple[object, ...]]:
        return known(names.get(host, host), port, **options)

    def refuse(address: tuple[str, int], *_: object) -> None:
        tried.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(web.socket, "getaddrinfo", look_up)
    monkeypatch.setattr(web.socket, "create_connection", refuse)
    return tried


def get(url: str) -> None:
    Web().get(url, {}, Cancel()).close()


def test_a_connection_goes_to_the_address_that_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = resolving(monkeypatch, {"hub.example": "93.184.216.34"})
    with pytest.raises(NodeFailed, match=r"hub.example cannot be reached \(Connection refused\)"):
        get("https://hub.example/x")
    assert tried == [("93.184.216.34", 443)]


@pytest.mark.parametrize(
    "url", ["http://hub.example/x", "http://10.0.0.7/x", "ftp://hub.example/x", "file:///etc/passwd"]
)
def test_only_https_is_asked(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    tried = resolving(monkeypatch, {"hub.example": "93.184.216.34"})
    with pytest.raises(BadRequest, match=r"over https only|not an address"):
        get(url)
    assert tried == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"]
)
def test_a_public_hub_does_not_lead_inside(address: str) -> None:
    parts = web.urlsplit(f"https://{f'[{address}]' if ':' in address else address}/latest")
    with pytest.raises(BadRequest, match=r"the hub must not lead there"):
        web._addresses(parts, web.Reach.PUBLIC)


def test_a_redirect_away_from_tls_is_refused(hub: Hub, attempt: Attempt) -> None:
    hub.redirect_to = "http://10.255.255.1"
    with pytest.raises(BadRequest, match=r"10.255.255.1 is asked over https only"):
        attempt.fetch()


def test_redirects_without_end_are_told(hub: Hub, attempt: Attempt) -> None:
    hub.redirect_to = f"{hub.url}/v2/library/m/blobs/sha256:{DIGEST}?"
    with pytest.raises(NodeFailed, match=r"redirects without end"):
        attempt.fetch()


def test_without_a_network_the_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise web.socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(web.socket, "getaddrinfo", nothing)
    with pytest.raises(NodeFailed, match=r"^hub.example is not found: there is no network, or no such host$"):
        get("https://hub.example/x")


@pytest.fixture
def certified(tmp_path: Path, require: Callable[[str], Path]) -> Iterator[tuple[str, Path]]:
    """The address of a TLS server for `localhost`, and its self-signed certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = [require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*made, *named, "-keyout", key, "-out", certificate], check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.headers["Host"].encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://localhost:{server.server_address[1]}/", certificate
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_certificate_must_be_valid(certified: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, certificate = certified
    with pytest.raises(NodeFailed, match=r"localhost:\d+ has no valid certificate: self.signed"):
        get(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert Web().get_small(url, {}, Cancel()).body.decode() == url.removeprefix("https://").rstrip("/")
    with pytest.raises(NodeFailed, match=r"has no valid certificate: .*127.0.0.1"):
        get(url.replace("localhost", "127.0.0.1"))
