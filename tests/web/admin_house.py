"""The administration's routes on a real server, and nothing else of a house."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from casona.exchange.errors import CasonaError
from casona.exchange.keys import Key
from casona.home import Home
from casona.policy.keys import Keyring
from casona.records.database import open_database
from casona.records.keys import KeyBook, ensure_admin_key
from casona.records.usage import Ledger
from casona.web.admin import admin_router

INSTANCE = "this-very-server"


@dataclass(frozen=True)
class House:
    url: str
    api_key: str
    home: Home
    ledger: Ledger


@contextmanager
def admin_house(home: Home) -> Iterator[House]:
    database = open_database("sqlite:///casona.db", home.path)
    admin_key = ensure_admin_key(database, home) or home.admin_key() or ""
    ledger = Ledger(database, home.journal_path)
    keyring = Keyring(KeyBook(database).active)

    def caller(request: Request) -> Key:
        return keyring.identify(request.headers.get("authorization", "").encode() or None)

    app = FastAPI()
    app.include_router(admin_router(database, keyring, ledger, caller))
    app.add_api_route("/health", lambda: {"status": "healthy", "instance": INSTANCE})
    app.add_exception_handler(CasonaError, _told)
    with listening(app) as url:
        yield House(url, admin_key, home, ledger)
    ledger.close()
    database.close()


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    line = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [line]})
    thread.start()
    yield f"http://127.0.0.1:{line.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    line.close()


def _told(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, CasonaError)
    return JSONResponse({"error": {"message": str(fault), "param": fault.param}}, fault.status)
