"""A hub that speaks the Ollama registry's protocol and Hugging Face's, and misbehaves on demand.

Files are given out by a second server on another port, as the public hubs' CDNs do.
"""

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from casona.engine.hub.hubs import Hubs, connect

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Asked:
    server: str
    path: str
    range: str
    token: str


@dataclass
class Hub:
    """`statuses` are given instead of the next files; `cuts` are how many bytes the next answers bring before
    the connection breaks. `gate` holds file answers back after their first kilobyte until it is set."""

    url: str = ""
    files_url: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    token: str = ""
    etag: str = ""
    knows_ranges: bool = True
    redirect_to: str = ""
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    gate: threading.Event | None = None
    asked: list[Asked] = field(default_factory=list)

    def add_ollama(self, name: str, *layers: tuple[str, bytes], config: dict[str, Any] | None = None) -> str:
        """Offer a model as `namespace/model:tag`; layers are kind and content. Gives its digest."""
        told = json.dumps(config if config is not None else {"model_format": "gguf"}).encode()
        entries = [(f"application/vnd.ollama.image.{kind}", content) for kind, content in layers]
        for _, content in [*entries, ("", told)]:
            self.blobs[sha256(content)] = content
        body = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _layer("application/vnd.docker.container.image.v1+json", told),
            "layers": [_layer(kind, content) for kind, content in entries],
        }
        path, tag = name.split(":")
        self.manifests[f"/v2/{path}/manifests/{tag}"] = json.dumps(body).encode()
        return sha256(self.manifests[f"/v2/{path}/manifests/{tag}"])

    def add_repository(self, name: str, files: dict[str, bytes], license: str = "apache-2.0") -> None:
        commit = sha256(name.encode())[:40]
        self.repositories[f"/api/models/{name}"] = {
            "id": name,
            "sha": commit,
            "cardData": {"license": license},
            "siblings": [
                {"rfilename": "README.md", "size": 10},
                *(
                    {
                        "rfilename": path,
                        "size": len(content),
                        "lfs": {"sha256": sha256(content), "size": len(content)},
                    }
                    for path, content in files.items()
                ),
            ],
        }
        self.files |= {f"/{name}/resolve/{commit}/{path}": content for path, content in files.items()}

    def connect(self, token: str = "") -> Hubs:
        return connect(ollama_url=self.url, huggingface_url=self.url, huggingface_token=token)

    def fetched(self) -> list[tuple[str, str]]:
        """The requests for files: path and range."""
        return [(asked.path, asked.range) for asked in self.asked if asked.server == "files"]


def _layer(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256(content)}", "size": len(content)}


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    with _served(hub, "hub", _answer_hub) as hub.url, _served(hub, "files", _answer_file) as hub.files_url:
        yield hub
        if hub.gate:
            hub.gate.set()


@contextmanager
def _served(hub: Hub, name: str, answer: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            token = self.headers.get("Authorization", "")
            hub.asked.append(Asked(name, self.path, self.headers.get("Range", ""), token))
            answer(hub, self)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer_hub(hub: Hub, request: BaseHTTPRequestHandler) -> None:
    path = request.path.partition("?")[0]
    if hub.token and request.headers.get("Authorization") != f"Bearer {hub.token}":
        _send(request, 401, b"no")
    elif path in hub.manifests:
        assert request.headers["Accept"] == MANIFEST
        _send(request, 200, hub.manifests[path])
    elif path in hub.repositories:
        _send(request, 200, json.dumps(hub.repositories[path]).encode())
    elif blob := re.fullmatch(r"/v2/.+/blobs/sha256:([0-9a-f]{64})", path):
        _redirect(hub, request, f"/blob/{blob[1]}")
    elif path in hub.files:
        _redirect(hub, request, f"/blob/{sha256(hub.files[path])}")
    else:
        _send(request, 404, b"{}")


def _redirect(hub: Hub, request: BaseHTTPRequestHandler, path: str) -> None:
    request.send_response(302)
    request.send_header("Location", (hub.redirect_to or hub.files_url) + path + "?signature=x")
    request.send_header("Content-Length", "0")
    request.end_headers()


def _answer_file(hub: Hub, request: BaseHTTPRequestHandler) -> None:
    if hub.statuses:
        _send(request, hub.statuses.pop(0), b"not now")
        return
    digest = request.path.rpartition("/")[2].partition("?")[0]
    known = {**hub.blobs, **{sha256(content): content for content in hub.files.values()}}
    if digest not in known:
        _send(request, 404, b"gone")
        return
    _give(hub, request, known[digest])


def _give(hub: Hub, request: BaseHTTPRequestHandler, content: bytes) -> None:
    wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    start = int(wanted[1]) if wanted and hub.knows_ranges else 0
    if wanted and hub.knows_ranges and start >= len(content):
        _send(request, 416, b"")
        return
    request.send_response(206 if wanted and hub.knows_ranges else 200)
    if wanted and hub.knows_ranges:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if hub.etag:
        request.send_header("ETag", hub.etag)
    request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    part = content[start:]
    if hub.gate and len(part) > 1024:
        request.wfile.write(part[:1024])
        hub.gate.wait(20)
        part = part[1024:]
    if hub.cuts:
        request.wfile.write(part[: hub.cuts.pop(0)])
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)
        request.close_connection = True
        return
    request.wfile.write(part)


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
