"""The library's process: it dies, sleeps, wakes, and ends with its house."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from library_house import BEES, TIDES, found, put, run

from casona.exchange.errors import CasonaError
from casona.library.client import LibraryClient, LibraryEnded, LibraryStatus, Vectors
from casona.settings import Library, Settings


def child() -> psutil.Process:
    (process,) = [one for one in psutil.Process().children() if "casona.library.process" in one.cmdline()]
    return process


def test_a_model_of_the_catalog_embeds_and_is_pinned(tmp_path: Path) -> None:
    settings = Settings(library=Library(embedder="tiny@engine"))
    asked: set[str] = set()
    digest = "a" * 64

    async def embed(model: str, texts: Sequence[str]) -> Vectors:
        asked.add(model)
        rows = [[float("bee" in text.lower()), float("tide" in text.lower()), 0.1] for text in texts]
        return Vectors(vectors=rows, digest=digest)

    async def story(client: LibraryClient) -> None:
        nonlocal digest
        await put(client, tmp_path / "bees.md", BEES, "notes")
        await put(client, tmp_path / "tides.md", TIDES, "notes")
        (record,) = await client.collections()
        assert (record.embedder, record.digest, record.dimensions) == ("tiny@engine", digest, 3)
        assert asked == {"tiny@engine"}
        assert await found(client, "beehive", "notes") == ["bees.md", "tides.md"]  # by its vector alone
        digest = "b" * 64
        assert await found(client, "moon", "notes") == ["tides.md"]  # by words alone
        with pytest.raises(CasonaError, match="not the one this collection was begun with"):
            await put(client, tmp_path / "more.md", BEES + TIDES, "notes")
        assert len(await client.documents()) == 2

    run(tmp_path / "home", story, settings, embed)


def test_after_its_process_dies_the_next_call_gets_a_fresh_one(tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await put(client, tmp_path / "bees.md", BEES, "notes")
        waiting = [asyncio.create_task(found(client, "queen bee", "notes")) for _ in range(20)]
        await asyncio.sleep(0)
        os.kill(child().pid, signal.SIGKILL)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(one, LibraryEnded) and "SIGKILL" in str(one) for one in answers), answers
        assert await found(client, "queen bee", "notes") == ["bees.md"]

    run(tmp_path / "home", story)


def test_an_idle_library_goes_to_sleep_and_wakes(tmp_path: Path) -> None:
    settings = Settings(library=Library(sleep_after_s=0.2))

    async def story(client: LibraryClient) -> None:
        assert await client.status() == LibraryStatus(state="asleep")
        await put(client, tmp_path / "bees.md", BEES, "notes")
        status = await client.status()
        assert (status.state, status.documents, status.collections) == ("awake", 1, ("notes",))
        while status.state == "awake":
            await asyncio.sleep(0.02)
            status = await client.status()
        assert status == LibraryStatus(state="asleep")
        assert await found(client, "queen bee", "notes") == ["bees.md"]

    run(tmp_path / "home", story, settings)


def test_the_process_ends_with_its_house(tmp_path: Path) -> None:
    async def story(client: LibraryClient) -> None:
        await client.wake()
        process = child()
        await client.close()
        assert not process.is_running()
        with pytest.raises(LibraryEnded):
            await client.documents()

    run(tmp_path / "home", story)


def test_damaged_indexes_are_built_again(tmp_path: Path) -> None:
    home = tmp_path / "home"

    async def fill(client: LibraryClient) -> None:
        await put(client, tmp_path / "bees.md", BEES, "notes")
        await put(client, tmp_path / "tides.md", TIDES, "notes")

    async def look(client: LibraryClient) -> None:
        assert (await found(client, "queen bee", "notes"))[0] == "bees.md"
        counts = (await client.sweep())["collections"]["notes"]
        assert (counts["vectors"], counts["terms"]) == (2, 2)

    run(home, fill)
    for file in (home / "library/index/1/vectors").glob("*.lance/data/*"):
        file.write_bytes(b"damaged")
    run(home, look)
