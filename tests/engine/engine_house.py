"""A house with an engine in it, for the engine's tests: real children on a tiny model."""

import asyncio
import http.client
import json
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from casona.engine.engine import Engine
from casona.engine.listing import EngineModel
from casona.engine.loaded import Lease
from casona.engine.shelf import Shelf
from casona.settings import Engine as Settings

DEADLINE_S = 20.0
MIB = 2**20


@asynccontextmanager
async def engine(home: Path, *models: Path, **settings: Any) -> AsyncIterator[Engine]:
    """An engine over copies of `models`, with little memory each unless told otherwise."""
    put(home, *models)
    engine = Engine(Settings(**{"context": 2048, **settings}), Shelf(home / "models"), home_dir=home)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


def put(home: Path, *models: Path, name: str = "") -> None:
    (home / "models").mkdir(parents=True, exist_ok=True)
    for model in models:
        shutil.copyfile(model, home / "models" / (name or model.name))


def model(engine: Engine, name: str) -> EngineModel:
    return next(model for model in engine.models() if model.name == name)


def pid_of(lease: Lease) -> int:
    """Of the process that listens at the lease's address."""
    port = urlsplit(lease.url).port
    for child in psutil.Process().children(recursive=True):
        if any(one.laddr.port == port for one in child.net_connections("tcp")):
            return int(child.pid)
    raise AssertionError(f"no child listens on {port}")


def is_running(pid: int) -> bool:
    """A process that has ended but was not collected by its parent does not run."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        await asyncio.sleep(0.01)


def post(lease: Lease, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    address = urlsplit(lease.url).netloc
    with closing(http.client.HTTPConnection(address, timeout=DEADLINE_S)) as connection:
        headers = {"Authorization": f"Bearer {lease.api_key}"}
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())


def get(lease: Lease, path: str, *, api_key: str | None = None) -> tuple[int, Any]:
    address = urlsplit(lease.url).netloc
    with closing(http.client.HTTPConnection(address, timeout=DEADLINE_S)) as connection:
        headers = {"Authorization": f"Bearer {lease.api_key if api_key is None else api_key}"}
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())


def say(words: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}], **fields}


def open_stream(lease: Lease, body: dict[str, Any]) -> socket.socket:
    """Ask for a chat, read nothing: closing the socket is hanging up."""
    url = urlsplit(lease.url)
    stream = socket.create_connection((url.hostname, url.port), timeout=DEADLINE_S)
    raw = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\n"
    head += f"Authorization: Bearer {lease.api_key}\r\nContent-Length: {len(raw)}\r\n\r\n"
    stream.sendall(head.encode() + raw)
    return stream


def busy_slots(lease: Lease) -> int:
    return sum(slot["is_processing"] for slot in get(lease, "/slots")[1])
