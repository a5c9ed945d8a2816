"""How long a house runs: until it is told to stop, for one command, or in a thread beside a test."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
import uvloop

from casona.configuration import Configuration, read
from casona.home import Home
from casona.house import Advise, House, greet_owner
from casona.web.server import bind, server, url_of
from casona.wiring import at_work, opened


@dataclass(frozen=True, slots=True)
class Temporary:
    """A house open for one command: where it listens, and an admin key that ends with it."""

    url: str
    api_key: str


@contextmanager
def temporary_house(home: Home, environ: Mapping[str, str]) -> Iterator[Temporary]:
    """Run a house inside this process, on a free loopback port, for as long as the context lasts."""
    settings = configuration(home, environ).settings
    quiet = settings.log.model_copy(update={"level": "warning"})  # a command's own words are enough
    with opened(home, settings.model_copy(update={"log": quiet}), "a command") as house:
        listening = bind("127.0.0.1", 0)
        url = url_of(listening)
        runner = Background(house, listening)
        with home.announced(url, house.instance), runner:
            yield Temporary(url, house.keyring.lend())


class Background:
    """A house at work in a thread of its own, for as long as the context lasts."""

    def __init__(self, house: House, listening: socket.socket) -> None:
        self._house = house
        self._listening = listening
        self._ready = threading.Event()
        self._server: uvicorn.Server | None = None
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="house", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._fault is not None:
            raise self._fault

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        try:
            uvloop.run(self._serve())
        except BaseException as fault:  # noqa: BLE001 - told in the thread that waits for it
            self._fault = fault
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        async with at_work(self._house) as app:
            await self._house.catalog.refresh()
            self._server = server(app, self._house.settings.server, before_stop=self._house.pulls.stop)
            self._ready.set()
            await self._server.serve(sockets=[self._listening])


async def serve(house: House, listening: socket.socket, greet: Callable[[str], None], advise: Advise) -> None:
    """Run a house until it is told to stop.

    `greet` gets each line of what its owner should know; `advise` is called, in a thread of its own,
    when there is no model yet.
    """
    async with at_work(house) as app:
        running_server = server(app, house.settings.server, before_stop=house.pulls.stop)
        greeting = asyncio.create_task(greet_owner(house, url_of(listening), greet, advise))
        await running_server.serve(sockets=[listening])
        greeting.cancel()


def configuration(home: Home, environ: Mapping[str, str]) -> Configuration:
    """The settings of a house. Raises ConfigurationError."""
    home.create()
    return read(home.path, environ)
