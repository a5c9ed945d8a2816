"""The library's own process: parsers, embedder, indexes, and the thread that changes them.

`python -m casona.library.process`, started by client.py. Apart, because LanceDB holds 130 MB, stalls an
event loop, and may die of a damaged file; and because it ends when nobody needs it. Frames come in on
standard input and go out on standard output; what any library prints goes to standard error. It ends when
its input closes, so it cannot outlive the house.
"""

import asyncio
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import psutil

from casona import logs
from casona.exchange.errors import BadRequest, CasonaError, Conflict
from casona.library.embedders import Embedded, Embedders
from casona.library.frames import Peer, Tell
from casona.library.holdings import Holdings
from casona.library.ingest import Ingest
from casona.library.originals import Originals
from casona.library.retrieve import Retriever
from casona.library.workers import Parsers
from casona.library.writer import Writer
from casona.records.database import open_database
from casona.records.documents import Documents
from casona.settings import Library, Log

log = logging.getLogger(__name__)

_PREDECESSOR_S = 20.0
_SEARCHES_AT_ONCE = 4
_SWITCH_S = 0.0005
"""How long a thread that prepares documents may hold up one that answers a search; Python's 5 ms add up."""


class Calls:
    """Answers the calls of client.py. Nothing works before `open`."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._searching = asyncio.Semaphore(_SEARCHES_AT_ONCE)
        self.peer: Peer

    async def serve(self, method: str, arguments: dict[str, Any], tell: Tell) -> Any:
        match method:
            case "ingest":
                path = Path(arguments.pop("path"))
                return await self._ingest.ingest(path, **arguments, told=tell)
            case "retrieve":
                async with self._searching:
                    return await asyncio.to_thread(self._retriever.retrieve, **arguments)
            case "remove":
                return await self._ingest.remove(**arguments)
            case "documents" | "document" | "page" | "collections":
                return await asyncio.to_thread(getattr(self._documents, method), **arguments)
            case "status":
                return await asyncio.to_thread(self._status)
            case "sweep":
                return await asyncio.wrap_future(self._writer.run(self._swept))
            case "open":
                return await self._open(**arguments)
            case "close":
                return await self._stack.aclose()
            case _:
                raise BadRequest(f"there is no call {method!r}")

    async def _open(self, home: str, database: str, library: dict[str, Any], log: dict[str, Any]) -> None:
        logs.start(Log(**log))
        settings = Library(**library)
        folder = Path(home) / "library"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self._alone, folder)
        records = await asyncio.to_thread(open_database, database, Path(home))
        self._stack.callback(records.close)
        self._documents = Documents(records)
        originals = Originals(folder / "files")
        embedders = Embedders(self._asks(asyncio.get_running_loop()))
        self._holdings = Holdings(self._documents, originals, folder / "index", embedders)
        await asyncio.to_thread(self._holdings.sweep)
        self._writer = Writer(self._holdings, configured=settings.embedder)
        self._stack.push_async_callback(asyncio.to_thread, self._writer.close)
        parsers = await self._stack.enter_async_context(Parsers(settings))
        self._ingest = Ingest(settings, self._holdings, self._writer, parsers)
        self._stack.push_async_callback(self._ingest.close)
        self._retriever = Retriever(self._holdings, self._writer.run)
        threading.Thread(target=_warm, daemon=True).start()
        await self._ingest.resume()

    def _alone(self, folder: Path) -> None:
        """Wait for a predecessor that has yet to notice that its house is gone."""
        lock = open(folder / "lock", "wb")  # noqa: SIM115 - held until the process ends
        deadline = time.monotonic() + _PREDECESSOR_S
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as fault:
                if time.monotonic() > deadline:
                    raise Conflict("another process has the library open; stop it and try again") from fault
            time.sleep(0.02)

    def _asks(self, loop: asyncio.AbstractEventLoop) -> Any:
        def ask(model: str, texts: Sequence[str]) -> Embedded:
            """From any thread but the loop's."""
            call = self.peer.call("embed", model=model, texts=list(texts))
            answer = asyncio.run_coroutine_threadsafe(call, loop).result()
            return msgspec.convert(answer, Embedded)

        return ask

    def _swept(self) -> dict[str, Any]:
        self._holdings.settle(purge_all=True)
        self._holdings.sweep()
        counted: dict[str, Any] = self._holdings.counts()
        return counted

    def _status(self) -> dict[str, Any]:
        collections = self._documents.collections()
        return {
            "arriving": len(self._documents.arrivals()),
            "memory_bytes": psutil.Process().memory_info().rss,
            "documents": sum(collection.documents for collection in collections),
            "passages": sum(collection.passages for collection in collections),
            "collections": [collection.name for collection in collections],
        }


def _warm() -> None:
    """Import what the first search needs while nobody waits for it."""
    with suppress(ImportError):
        import lancedb  # noqa: F401


async def main() -> None:
    source, sink = _pipes()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sink)
    calls = Calls()
    calls.peer = Peer(reader, asyncio.StreamWriter(transport, protocol, None, loop), calls.serve)
    await calls.peer.run()
    # The house is gone or has let us go. Threads may be at work; whatever they do may stop here.
    os._exit(0)


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for frames, out of reach of anything else in here."""
    source, sink = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return source, sink


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the house, which closes our input
    os.putenv("LANCEDB_LOG", "error")  # it warns of data that cluster badly, at every turn
    sys.setswitchinterval(_SWITCH_S)
    logging.basicConfig(stream=sys.stderr)
    try:
        asyncio.run(main())
    except CasonaError as fault:
        sys.exit(str(fault))
