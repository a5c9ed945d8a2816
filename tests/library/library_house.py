"""A library in a temporary house, and files to put into it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from casona.exchange.errors import CasonaError
from casona.library.client import Embed, LibraryClient, Vectors
from casona.records.database import open_database
from casona.settings import Settings

DEADLINE_S = 60.0

BEES = "# Bees\n\nThe queen bee lays up to two thousand eggs a day in the brood nest of the hive.\n"
TIDES = "# Tides\n\nThe moon pulls the sea and makes the tide rise twice a day on most coasts.\n"
ABEJAS = "# Abejas\n\nLa abeja reina pone hasta dos mil huevos al día en la cámara de cría de la colmena.\n"


async def no_model(model: str, _texts: Sequence[str]) -> Vectors:
    raise CasonaError(f"there is no model {model!r}")


def make_house(home: Path) -> Path:
    home.mkdir(exist_ok=True)
    open_database(Settings().database, home).close()
    return home


def run(
    home: Path,
    story: Callable[[LibraryClient], Awaitable[None]],
    settings: Settings | None = None,
    embed: Embed = no_model,
) -> None:
    """Tell a story of a library; its process is gone afterwards."""

    async def main() -> None:
        client = LibraryClient(make_house(home), settings or Settings(), embed)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await story(client)
        finally:
            await client.close()

    uvloop.run(main())


class Library:
    """One running library for many tests: each keeps to a collection of its own."""

    def __init__(self, home: Path) -> None:
        self.home = make_house(home)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.client = LibraryClient(self.home, Settings(), no_model)

    def run(self, story: Callable[[LibraryClient], Awaitable[None]]) -> None:
        asyncio.run_coroutine_threadsafe(self._timed(story), self._loop).result()

    async def _timed(self, story: Callable[[LibraryClient], Awaitable[None]]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await story(self.client)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.client.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def put(client: LibraryClient, path: Path, text: str, collection: str) -> tuple[str, str]:
    """Write a file and add it; gives the outcome and the document's id."""
    path.write_text(text)
    outcome = await client.ingest(path, source=str(path), collection=collection)
    assert outcome.reason == "", outcome
    return outcome.outcome, outcome.document or ""


async def found(client: LibraryClient, question: str, collection: str | None) -> list[str]:
    """The names of the sources found, best first, each once."""
    hits = await client.retrieve(question, collection=collection, limit=10)
    return list(dict.fromkeys(Path(hit.source).name for hit in hits))


def holding(home: Path, needle: str) -> list[str]:
    """The files of a house that hold these bytes."""
    raw = needle.encode()
    files = (file for file in home.rglob("*") if file.is_file())
    return [str(file.relative_to(home)) for file in files if raw in file.read_bytes()]
