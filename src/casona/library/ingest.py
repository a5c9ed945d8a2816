"""The life of a document: a file arrives, is read, split, embedded and stored, and one day removed.

What a file is, is its bytes: the same bytes read the same way are the same content, so adding them again
changes nothing. An arrival is written down before anything is done with it and forgotten in the transaction
that makes it a document; so a crash at any moment loses nothing and doubles nothing, and `resume` goes on
with what was under way. docs/decisions/012-documents-are-their-own-workflow.md tells why no workflow engine.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import Literal, Protocol

from casona.exchange.errors import CasonaError
from casona.library.collection import Rows, rows_of
from casona.library.document import Document, Refused
from casona.library.holdings import Arriving, Holdings, Overtaken
from casona.library.originals import Staged
from casona.library.outcome import Outcome, Progress
from casona.library.split import split
from casona.library.writer import Writer
from casona.records.library import PASSAGES_BITS, Arrival, DocumentRecord, NewContent, NewDocument
from casona.settings import Library

log = logging.getLogger(__name__)

READING = "1"
"""Raise it when loaders or splitter give other pages or passages: then files added again are read again."""

_ATTEMPTS = 5
_PREPARED_AT_ONCE = 2

Told = Callable[[Progress], None]


class Reader(Protocol):
    async def parse(self, path: Path, name: str) -> Document:
        """Raises Refused."""


class Interrupted(CasonaError):
    status = 503


class Ingest:
    def __init__(self, settings: Library, holdings: Holdings, writer: Writer, reader: Reader) -> None:
        self._settings = settings
        self._holdings = holdings
        self._documents = holdings.documents
        self._originals = holdings.originals
        self._writer = writer
        self._reader = reader
        self._locks: dict[tuple[str, ...], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: dict[tuple[str, ...], int] = defaultdict(int)
        self._threads = ThreadPoolExecutor(_PREPARED_AT_ONCE, "library-prepare")
        self._resumed: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def ingest(self, path: Path, *, source: str, collection: str, told: Told) -> Outcome:
        """Take the file at `path` as what `source` holds now. Raises CasonaError if that cannot be tried."""
        async with self._alone(collection, source):
            staged = await asyncio.to_thread(self._originals.stage, path)
            try:
                known = await asyncio.to_thread(self._known, collection, source, staged.hash)
                if known is not None:
                    return Outcome(path=source, outcome="unchanged", document=known)
                arrival = await asyncio.to_thread(self._arrive, collection, source, staged)
            finally:
                staged.discard()
            try:
                return await self._finish(arrival, told)
            except Exception:
                if not self._is_closing:
                    await asyncio.to_thread(self._abandon, arrival)
                raise

    async def resume(self) -> None:
        """Go on with what was under way when the last process ended; comes back before it is done."""
        for arrival in await asyncio.to_thread(self._documents.arrivals):
            if arrival.attempts >= _ATTEMPTS or not self._originals.path(arrival.hash).exists():
                log.warning("%s is given up after %d attempts", arrival.source, arrival.attempts)
                await asyncio.to_thread(self._abandon, arrival)
                continue
            await asyncio.to_thread(self._documents.retry, arrival.id)
            task = asyncio.create_task(self._resumed_one(arrival))
            self._resumed.add(task)
            task.add_done_callback(self._resumed.discard)
            await asyncio.sleep(0)  # it takes its source's lock before anybody else can

    async def remove(self, document_id: str) -> DocumentRecord:
        """Remove a document and all that only it needed, from the disk too. Raises NotFound."""
        document = await asyncio.to_thread(self._documents.document, document_id)
        async with self._alone(document.collection, document.source):
            await asyncio.wrap_future(self._writer.remove(document.collection, [document_id]))
        return document

    async def close(self) -> None:
        """Stop; what is under way stays an arrival, and is gone on with at the next start."""
        self._is_closing = True
        for task in self._resumed:
            task.cancel()
        await asyncio.gather(*self._resumed, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _resumed_one(self, arrival: Arrival) -> None:
        async with self._alone(arrival.collection, arrival.source):
            try:
                outcome = await self._finish(arrival, lambda _: None)
                log.info("resumed %s: %s %s", arrival.source, outcome.outcome, outcome.reason)
            except CasonaError as fault:  # its embedder may not be up yet
                log.warning("%s waits for the next start: %s", arrival.source, fault)

    async def _finish(self, arrival: Arrival, told: Told) -> Outcome:
        """From arrival to document. Called with the source's lock held."""
        before = await asyncio.to_thread(self._documents.content_of, arrival.collection, arrival.source)
        try:
            async with self._alone(arrival.collection, "", arrival.hash):
                document = await self._stored(arrival, told)
        except Refused as refused:
            if self._is_closing:
                raise Interrupted("the library is closing; this is gone on with when it opens") from refused
            await asyncio.to_thread(self._abandon, arrival)
            return Outcome(path=arrival.source, outcome="refused", reason=refused.reason)
        outcome: Literal["stored", "updated"] = "stored" if before is None else "updated"
        return Outcome(path=arrival.source, outcome=outcome, document=document)

    async def _stored(self, arrival: Arrival, told: Told) -> str:
        content_id = await asyncio.to_thread(self._shared, arrival.collection, arrival.source, arrival.hash)
        if content_id is not None:
            document = NewDocument(arrival_id=arrival.id, source=arrival.source, content_id=content_id)
            try:
                return await asyncio.wrap_future(
                    self._writer.store(arrival.collection, Arriving(document=document))
                )
            except Overtaken:
                pass  # the last source that had it has just been removed
        told(Progress(stage="reading"))
        parsed = await self._reader.parse(self._originals.path(arrival.hash), PurePath(arrival.source).name)
        loop = asyncio.get_running_loop()
        content, rows = await loop.run_in_executor(self._threads, self._prepared, arrival, parsed, told)
        told(Progress(stage="storing", done=len(content.passages), total=len(content.passages)))
        document = NewDocument(
            arrival_id=arrival.id, source=arrival.source, content_id=arrival.id, content=content
        )
        return await asyncio.wrap_future(
            self._writer.store(arrival.collection, Arriving(document=document, rows=rows))
        )

    def _prepared(self, arrival: Arrival, parsed: Document, told: Told) -> tuple[NewContent, Rows]:
        size, overlap = self._settings.passage_chars, self._settings.overlap_chars
        passages = [(p.page, p.start, p.end, p.heading) for p in split(parsed, size=size, overlap=overlap)]
        if not passages:
            raise Refused("it has no text")
        if len(passages) >= 1 << PASSAGES_BITS:
            raise Refused("it has too many passages; raise library.passage_chars")
        content = NewContent(
            hash=arrival.hash,
            recipe=self._recipe(arrival.source),
            title=parsed.title,
            media_type=parsed.media_type,
            language=parsed.language,
            size_bytes=arrival.size_bytes,
            pages=[(page.number, page.text) for page in parsed.pages],
            passages=passages,
            notes=parsed.notes,
        )
        record = self._documents.collection(arrival.collection)
        embedder = self._holdings.embedder_of(record, self._settings.embedder)
        total = len(passages)
        return content, rows_of(
            content, embedder, lambda done: told(Progress(stage="embedding", done=done, total=total))
        )

    def _known(self, collection: str, source: str, digest: str) -> str | None:
        """The id of the source's document when it holds these bytes, read this way."""
        held = self._documents.content_of(collection, source)
        same = self._shared(collection, source, digest)
        return held[0] if held is not None and held[1] == same else None

    def _shared(self, collection: str, source: str, digest: str) -> int | None:
        record = self._documents.collection(collection)
        if record is None:
            return None
        return self._documents.content(record.id, digest, self._recipe(source))

    def _recipe(self, source: str) -> str:
        """What the same bytes may be read as: a name's ending claims a format, and may be wrong."""
        settings = self._settings
        claimed = PurePath(source).suffix.lower()
        return f"{READING}/{settings.passage_chars}/{settings.overlap_chars}/{claimed}"

    def _arrive(self, collection: str, source: str, staged: Staged) -> Arrival:
        with self._holdings.keeping:
            self._originals.keep(staged)
            id_ = self._documents.arrive(collection, source, staged.hash, staged.size_bytes)
        return Arrival(
            id=id_,
            collection=collection,
            source=source,
            hash=staged.hash,
            size_bytes=staged.size_bytes,
            attempts=1,
        )

    def _abandon(self, arrival: Arrival) -> None:
        with self._holdings.keeping:
            self._documents.forget(arrival.id)
            if not self._documents.is_held(arrival.hash):
                self._originals.drop(arrival.hash)

    @asynccontextmanager
    async def _alone(self, *what: str) -> AsyncIterator[None]:
        """One at a time per collection and source, and per collection and bytes."""
        self._waiting[what] += 1
        try:
            async with self._locks[what]:
                yield
        finally:
            self._waiting[what] -= 1
            if not self._waiting[what]:
                del self._locks[what], self._waiting[what]
