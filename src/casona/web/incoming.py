"""Files on their way into the library: on disk, never in memory, and gone however it ends."""

import asyncio
import shutil
import unicodedata
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from casona.exchange.errors import BadRequest
from casona.library.client import LibraryClient
from casona.library.disk import room
from casona.library.document import Refused
from casona.library.outcome import Outcome

DEFAULT_COLLECTION = "default"
LONGEST_NAME = 255
LONGEST_SOURCE = 4096
LONGEST_COLLECTION = 100

_WRITTEN_AT_ONCE_BYTES = 2**20
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of what no name may hold: control characters, half surrogates, line separators."""


class Draft:
    """A file that is being received. Raises OutOfSpace."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._held = bytearray()
        with room():
            self._file = open(path, "xb")  # noqa: SIM115 - closed by `whole` or `discard`

    async def write(self, piece: bytes | bytearray) -> None:
        self.size_bytes += len(piece)
        self._held += piece
        if len(self._held) >= _WRITTEN_AT_ONCE_BYTES:
            held, self._held = self._held, bytearray()
            await asyncio.to_thread(self._written, held)

    async def whole(self) -> Path:
        """The file, closed. Raises Refused when nothing came."""
        if not self.size_bytes:
            raise Refused("it is empty (0 bytes)")
        await asyncio.to_thread(self._written, self._held, last=True)
        return self.path

    def discard(self) -> None:
        with suppress(OSError):  # what was held back finds no space either
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _written(self, held: bytearray, *, last: bool = False) -> None:
        with room():
            self._file.write(held)
            if last:
                self._file.close()


class Incoming:
    """The folder of drafts. What is in it at start was left by a crash, and goes."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[Draft]:
        with room():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = Draft(self._folder / uuid.uuid4().hex)
        try:
            yield draft
        finally:
            draft.discard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Where received files are handed to the library."""

    library: LibraryClient
    incoming: Incoming

    async def take(self, draft: Draft, *, source: str, collection: str) -> Outcome:
        """Comes back once the document is searchable. Raises Refused with the reason, OutOfSpace."""
        outcome = await self.library.ingest(await draft.whole(), source=source, collection=collection)
        if outcome.outcome == "refused":
            raise Refused(outcome.reason)
        return outcome


def checked_name(name: str) -> str:
    """A file's name as its sender calls it. Raises Refused for what is a path, or no name at all."""
    if not name.strip():
        raise Refused("the file has no name; its extension tells what it is")
    if "/" in name or "\\" in name or name in {".", ".."}:
        raise Refused("the name holds a path; send the file's own name only, such as report.pdf")
    return _fit(name, "file", "the file's name", LONGEST_NAME)


def checked_source(source: str) -> str:
    """Where a document comes from, as people are shown it. Raises BadRequest."""
    return _fit(source, "source", "source", LONGEST_SOURCE)


def checked_collection(collection: str | None) -> str:
    """A collection's name; the default one's when none is named. Raises BadRequest."""
    if collection is None:
        return DEFAULT_COLLECTION
    if collection != collection.strip():
        raise BadRequest("collection: begins or ends with a space", param="collection")
    return _fit(collection, "collection", "collection", LONGEST_COLLECTION)


def _fit(text: str, param: str, what: str, longest: int) -> str:
    if not text:
        raise BadRequest(f"{what}: must not be empty", param=param)
    if len(text) > longest:
        raise BadRequest(f"{what}: has {len(text)} characters and the limit is {longest}", param=param)
    if any(unicodedata.category(character) in _UNFIT for character in text):
        raise BadRequest(f"{what}: holds control characters", param=param)
    return text
