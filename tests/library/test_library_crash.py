"""`kill -9` at any moment: after a restart every document is whole or absent, and nothing is left over."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import killed_writer
import pytest
from killed_writer import TEXTS, library, put
from library_house import make_house, run
from test_library_process import child

from casona.library.client import LibraryClient, LibraryEnded
from casona.library.holdings import Holdings
from casona.library.store.postings import asked
from casona.library.terms import terms

STEPS = [
    *(("store", step) for step in ("Originals.keep", "Documents.arrive", "Index.begin", "Index.add_vectors")),
    *(("store", step) for step in ("Index.add", "Documents.store", "Index.remove", "Index.commit")),
    *(("store", step) for step in ("Originals.drop",)),
    *(("remove", step) for step in ("Documents.remove", "Index.remove", "Index.commit", "Index.purge")),
    *(("remove", step) for step in ("Documents.wipe", "Originals.drop")),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three documents: one to keep, one to replace, one to remove."""
    home = make_house(tmp_path_factory.mktemp("house") / "home")
    opened = library(home)
    for source, text in (("kept", "kept"), ("changing", "old"), ("going", "going")):
        put(opened, source, TEXTS[text], home / "scratch")
    opened.close()
    opened.documents.wipe()
    return home


@pytest.fixture(scope="module")
def wrecks(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Path]]:
    """A copy of the house for each step, killed after it."""
    folder = tmp_path_factory.mktemp("wrecks")

    def wreck(job: tuple[str, str]) -> Path:
        home = Path(shutil.copytree(house, folder / "-".join(job)))
        command = [sys.executable, killed_writer.__file__, str(home), *job, "after"]
        killed = subprocess.run(command, capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        return home

    with ThreadPoolExecutor(2) as pool:
        yield dict(zip(STEPS, pool.map(wreck, STEPS), strict=True))


def searched(opened: Holdings, word: str) -> list[str]:
    """The sources of the passages that hold a word, by the index and the database."""
    collection = opened.open("notes")
    assert collection is not None
    found = collection.index.search(None, asked(("en", term) for term in terms(word, "en")))
    passages = opened.documents.passages(found.ids.tolist())
    return [passages[one].source for one in found.ids.tolist() if one in passages]


@pytest.mark.parametrize("step", STEPS, ids="-".join)
def test_after_a_kill_everything_is_whole_and_nothing_is_left(
    step: tuple[str, str], wrecks: dict[tuple[str, str], Path]
) -> None:
    home = wrecks[step]
    opened = library(home)
    for arrival in opened.documents.arrivals():
        opened.documents.forget(arrival.id)
    opened.sweep()
    opened.open("notes")
    opened.settle(purge_all=True)
    sources = [document.source for document in opened.documents.documents()]
    assert sources in (["changing", "going", "kept"], ["changing", "kept"])
    assert searched(opened, "bees") == ["kept"]
    assert sorted(searched(opened, "low") + searched(opened, "high")) == ["changing"]
    assert searched(opened, "owls") == [source for source in sources if source == "going"]
    assert opened.counts() == {
        "collections": {
            "notes": dict.fromkeys(("documents", "passages", "vectors", "terms"), len(sources))
            | {"removed_vectors": 0}
        },
        "files": len(sources),
        "files_needed": len(sources),
        "leftovers": 0,
    }
    put(opened, "changing", TEXTS["new"], home / "scratch")
    assert searched(opened, "high") == ["changing"]
    opened.close()


@pytest.mark.parametrize("step", [2, 5, 8])
def test_ingestion_killed_at_a_step_completes_when_run_again(step: int, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.md" for number in range(6)]
    for number, file in enumerate(files):
        file.write_text(f"# Report {number}\n\n" + f"Sentence number {number} of a report. " * 300)
    told = 0

    def kill(_: object) -> None:
        nonlocal told
        told += 1
        if told == step:
            os.kill(child().pid, signal.SIGKILL)

    async def interrupted(client: LibraryClient) -> None:
        adding = (client.ingest(file, source=file.name, collection="notes", told=kill) for file in files)
        results = await asyncio.gather(*adding, return_exceptions=True)
        assert any(isinstance(result, LibraryEnded) for result in results), results

    async def resumed(client: LibraryClient) -> None:
        for document in await client.documents():
            page = await client.page(document.id, 1)
            assert page.text.startswith(f"# Report {document.source[0]}") or page.text.startswith("Report")
        outcomes = await asyncio.gather(
            *(client.ingest(file, source=file.name, collection="notes") for file in files)
        )
        assert {outcome.outcome for outcome in outcomes} <= {"stored", "unchanged"}
        swept = await client.sweep()
        counts = swept["collections"]["notes"]
        assert (counts["documents"], swept["files"], swept["leftovers"]) == (6, 6, 0)
        assert counts["passages"] == counts["vectors"] == counts["terms"] > 6

    run(tmp_path / "home", interrupted)
    run(tmp_path / "home", resumed)


def test_what_had_arrived_is_stored_without_being_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "bees.md"
    file.write_text("# Bees\n\nThe queen bee lays eggs.")

    async def interrupted(client: LibraryClient) -> None:
        with pytest.raises(LibraryEnded):
            await client.ingest(
                file,
                source="bees.md",
                collection="notes",
                told=lambda _: os.kill(child().pid, signal.SIGKILL),
            )

    async def resumed(client: LibraryClient) -> None:
        while [document.source for document in await client.documents()] != ["bees.md"]:
            await asyncio.sleep(0.02)

    run(tmp_path / "home", interrupted)
    file.unlink()
    run(tmp_path / "home", resumed)
