"""The house's side of the library: starts its process on first need, talks to it, lets it go when idle."""

import asyncio
import logging
import signal
import sys
from array import array
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from casona.exchange.errors import BadRequest, CasonaError
from casona.library.frames import Gone, Peer, Tell
from casona.library.hit import Hit
from casona.library.outcome import Outcome, Progress
from casona.records.library import CollectionRecord, DocumentRecord, PageText
from casona.settings import Settings

log = logging.getLogger(__name__)

_CLOSE_S = 10.0
_PIPE_BYTES = 2**20

T = TypeVar("T")


class LibraryEnded(CasonaError):
    """The library's process ended while it was at work for this call; the next call gets a fresh one."""

    status = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """A model's answer: one vector per text, in order. `digest` names its weights, "" when unknown."""

    vectors: Sequence[Sequence[float]]
    digest: str = ""


Embed = Callable[[str, Sequence[str]], Awaitable[Vectors]]
"""(model@node, texts) to their vectors. Raises CasonaError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryStatus:
    """`asleep`: the process is not running; nothing is counted. `arriving` files are not yet documents."""

    state: Literal["asleep", "awake"]
    arriving: int = 0
    memory_bytes: int = 0
    documents: int = 0
    passages: int = 0
    collections: tuple[str, ...] = ()


class LibraryClient:
    """All methods raise CasonaError. Safe for any number of calls at once, in one event loop."""

    def __init__(self, home: Path, settings: Settings, embed: Embed) -> None:
        self._home = home
        self._settings = settings
        self._embed = embed
        self._child: _Child | None = None
        self._starting = asyncio.Lock()
        self._calls = 0
        self._sleep: asyncio.TimerHandle | None = None
        self._sleeping: asyncio.Task[None] | None = None
        self._is_closed = False

    async def ingest(
        self, file: Path, *, source: str, collection: str, told: Callable[[Progress], None] = lambda _: None
    ) -> Outcome:
        """Take the file (an absolute path) as what `source`, a name, holds now. It is copied.

        Comes back once the document is whole and searchable. Cancelling does not stop the work.
        """

        def tell(value: Any) -> None:
            told(msgspec.convert(value, Progress))

        arguments = {"path": str(file), "source": source, "collection": collection}
        return await self._ask(Outcome, "ingest", tell=tell, **arguments)

    async def retrieve(self, question: str, *, collection: str | None, limit: int) -> list[Hit]:
        """The passages that fit best, best first; over all collections when none is named."""
        return await self._ask(list[Hit], "retrieve", question=question, collection=collection, limit=limit)

    async def remove(self, document_id: str) -> DocumentRecord:
        """Remove a document and all that only it needed, from the disk too. Raises NotFound."""
        return await self._ask(DocumentRecord, "remove", document_id=document_id)

    async def documents(self, collection: str | None = None) -> list[DocumentRecord]:
        """By collection and source."""
        return await self._ask(list[DocumentRecord], "documents", collection=collection)

    async def document(self, document_id: str) -> DocumentRecord:
        """Raises NotFound."""
        return await self._ask(DocumentRecord, "document", document_id=document_id)

    async def page(self, document_id: str, number: int) -> PageText:
        """Raises NotFound."""
        return await self._ask(PageText, "page", document_id=document_id, number=number)

    async def collections(self) -> list[CollectionRecord]:
        return await self._ask(list[CollectionRecord], "collections")

    async def sweep(self) -> dict[str, Any]:
        """Delete what is left of removed documents, and count what there is, to see that nothing is."""
        return await self._ask(dict[str, Any], "sweep")

    async def status(self) -> LibraryStatus:
        """Wakes nobody, and keeps nobody awake."""
        if self._child is not None and not self._child.has_ended:
            with suppress(Gone):
                told = await self._child.peer.call("status")
                return msgspec.convert(told | {"state": "awake"}, LibraryStatus)
        return LibraryStatus(state="asleep")

    async def wake(self) -> None:
        """Start the process now; it goes on with what was under way when the last one ended."""
        async with self._at_work():
            pass

    async def close(self) -> None:
        """Let the process finish what is being written, and end it. What is being read is resumed later."""
        self._is_closed = True
        if self._sleep is not None:
            self._sleep.cancel()
        if self._sleeping is not None:
            await self._sleeping
        async with self._starting:
            if self._child is not None:
                await self._child.close()

    async def _ask(self, kind: type[T], method: str, *, tell: Tell = lambda _: None, **arguments: Any) -> T:
        async with self._at_work() as child:
            try:
                answer = await child.peer.call(method, tell=tell, **arguments)
            except UnicodeEncodeError as fault:
                raise BadRequest(f"{method}: {fault.object[:80]!r} is not valid Unicode") from fault
            except Gone as fault:
                raise LibraryEnded(
                    f"the library's process ended at work ({await child.cause()}); try again"
                ) from fault
        return msgspec.convert(answer, kind)

    @asynccontextmanager
    async def _at_work(self) -> "AsyncIterator[_Child]":
        """A running child that does not fall asleep meanwhile."""
        self._calls += 1
        if self._sleep is not None:
            self._sleep.cancel()
        try:
            yield await self._awake()
        finally:
            self._calls -= 1
            self._doze()

    async def _awake(self) -> "_Child":
        async with self._starting:
            if self._is_closed:
                raise LibraryEnded("the library is closed")
            if self._child is None or self._child.has_ended:
                self._child = await _Child.start(self._home, self._settings, self._serve)
            return self._child

    def _doze(self) -> None:
        if self._calls == 0 and not self._is_closed:
            loop = asyncio.get_running_loop()
            self._sleep = loop.call_later(self._settings.library.sleep_after_s, self._fall_asleep)

    def _fall_asleep(self) -> None:
        self._sleeping = asyncio.get_running_loop().create_task(self._send_to_sleep())

    async def _send_to_sleep(self) -> None:
        if (await self.status()).arriving:  # it goes on with what a crash interrupted; nobody waits for that
            self._doze()
            return
        async with self._starting:
            if self._calls == 0 and self._child is not None:
                await self._child.close()
                self._child = None

    async def _serve(self, method: str, arguments: dict[str, Any], _tell: Tell) -> Any:
        """The process calls back for vectors of a model of the catalog."""
        assert method == "embed"
        answer = await self._embed(arguments["model"], arguments["texts"])
        flat = array("f")
        for vector in answer.vectors:
            flat.extend(vector)
        dimensions = len(answer.vectors[0]) if answer.vectors else 0
        return {"data": flat.tobytes(), "dimensions": dimensions, "digest": answer.digest}


class _Child:
    def __init__(self, process: Process, peer: Peer) -> None:
        self._process = process
        self.peer = peer
        self._running = asyncio.create_task(peer.run())

    @classmethod
    async def start(cls, home: Path, settings: Settings, serve: Any) -> "_Child":
        """A process that is open for calls. Raises CasonaError when it cannot open the library."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "casona.library.process"),
            stdin=PIPE,
            stdout=PIPE,
            limit=_PIPE_BYTES,
            start_new_session=True,  # a terminal's Ctrl-C is for the house
        )
        assert process.stdin is not None
        assert process.stdout is not None
        child = cls(process, Peer(process.stdout, process.stdin, serve))
        try:
            await child.peer.call(
                "open",
                home=str(home),
                database=settings.database,
                library=settings.library.model_dump(mode="json"),
                log=settings.log.model_dump(mode="json"),
            )
        except Gone as fault:
            raise LibraryEnded(f"the library's process did not start ({await child.cause()})") from fault
        except BaseException:
            await child.kill()
            raise
        return child

    @property
    def has_ended(self) -> bool:
        return self._running.done()

    async def cause(self) -> str:
        await self._process.wait()
        code = self._process.returncode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}; see the log"

    async def close(self) -> None:
        with suppress(TimeoutError, CasonaError):
            await asyncio.wait_for(self.peer.call("close"), _CLOSE_S)
        await self.kill()

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._running
