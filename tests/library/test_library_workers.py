"""Parsers are processes that can be killed, and that take nothing down with them."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from casona.library.document import Document, Refused
from casona.library.workers import Parsers
from casona.settings import Library

SMALL = 128 * 2**20


async def outcome(parsers: Parsers, path: Path) -> Document | str:
    try:
        return await parsers.parse(path, path.name)
    except Refused as refused:
        return refused.reason


def workers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "casona.library.parser" in each.cmdline()]


async def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def run(story: Callable[[Parsers], Awaitable[None]], **settings: float) -> None:
    async def main() -> None:
        async with Parsers(Library.model_validate(settings)) as parsers:
            await story(parsers)
        assert workers() == []

    asyncio.run(main())


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.txt"
    path.write_text("A note of a few words.")
    return path


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """Takes seconds to read."""
    path = tmp_path / "slow.html"
    path.write_text("<p>" + "<b>word</b> <i>and another</i> " * 1_000_000)
    return path


def test_all_documents_are_read_or_refused_with_a_reason(shared: Path) -> None:
    files = sorted(path for path in (shared / "data/documents").rglob("*") if path.is_file())
    told: dict[str, Document | str] = {}

    async def story(parsers: Parsers) -> None:
        results = await asyncio.gather(*(outcome(parsers, path) for path in files))
        told.update(zip((path.name for path in files), results, strict=True))

    run(story)
    refused = {name: reason for name, reason in told.items() if isinstance(reason, str)}
    reasons = {name: reason for name, reason in refused.items() if not reason.startswith("unknown format")}
    assert (len(told), len(refused)) == (143, 41)
    assert {Path(name).suffix for name in refused.keys() - reasons.keys()} == {
        *(".csv", ".eml", ".epub", ".odt", ".pptx", ".xlsx")
    }
    assert (
        reasons.pop("libreoffice-writer-password.pdf") == "it is protected by a password; save it without one"
    )
    assert len(reasons) == 8
    assert set(reasons.values()) == {"it has no text layer: its pages are pictures; run OCR on it first"}


def test_a_worker_is_used_again(note: Path) -> None:
    async def story(parsers: Parsers) -> None:
        first = await parsers.parse(note, "note.txt")
        (before,) = workers()
        with pytest.raises(Refused, match="unknown format"):
            await parsers.parse(note, "note.xyz")
        assert await parsers.parse(note, "note.txt") == first
        assert workers() == [before]

    run(story)


def test_no_more_workers_run_than_set(note: Path) -> None:
    async def story(parsers: Parsers) -> None:
        await asyncio.gather(*(parsers.parse(note, "note.txt") for _ in range(8)))
        assert len(workers()) == 2

    run(story, parse_workers=2)


def test_a_document_that_takes_too_long_is_refused_and_its_worker_killed(slow: Path, note: Path) -> None:
    async def story(parsers: Parsers) -> None:
        assert await outcome(parsers, slow) == "it takes longer than 0.2 s to read (library.parse_timeout_s)"
        assert workers() == []
        assert isinstance(await outcome(parsers, note), Document)

    run(story, parse_timeout_s=0.2)


def test_a_document_that_takes_too_much_memory_is_refused(tmp_path: Path, note: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text("<p>" + "<b>x</b>" * 4_000_000)

    async def story(parsers: Parsers) -> None:
        told = await outcome(parsers, path)
        assert isinstance(told, str)
        assert "memory" in told
        assert isinstance(await outcome(parsers, note), Document)

    run(story, parse_memory_bytes=SMALL)


def test_a_worker_that_dies_refuses_its_document_only(slow: Path, note: Path) -> None:
    async def story(parsers: Parsers) -> None:
        doomed = asyncio.create_task(outcome(parsers, slow))
        await until(lambda: bool(workers()) and workers()[0].cpu_times().user > 0.3)
        workers()[0].kill()
        assert await doomed == "it is broken: the parser died of it (SIGKILL)"
        assert isinstance(await outcome(parsers, note), Document)

    run(story)


def test_cancelling_kills_the_worker(slow: Path, note: Path) -> None:
    async def story(parsers: Parsers) -> None:
        task = asyncio.create_task(parsers.parse(slow, "slow.html"))
        await until(lambda: bool(workers()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert workers() == []
        assert isinstance(await outcome(parsers, note), Document)

    run(story, parse_workers=1)


@pytest.mark.parametrize("seconds_at_work", [-1, 0.3])
def test_closing_ends_what_is_being_read(slow: Path, seconds_at_work: float) -> None:
    async def story(parsers: Parsers) -> None:
        task = asyncio.create_task(outcome(parsers, slow))
        await until(lambda: bool(workers()) and workers()[0].cpu_times().user > seconds_at_work)
        await parsers.close()
        with pytest.raises(RuntimeError, match="closed"):
            await task
        with pytest.raises(RuntimeError, match="closed"):
            await parsers.parse(slow, "slow.html")

    run(story)


def test_a_worker_ends_when_its_input_closes() -> None:
    command = [sys.executable, "-m", "casona.library.parser", str(2**30)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.read(8) == bytes(8)
        worker.stdin.close()
        assert worker.wait(timeout=10) == 0


def test_a_worker_ends_when_its_input_closes_while_it_reads(slow: Path) -> None:
    import msgspec

    from casona.library.parser import HEAD, Job

    command = [sys.executable, "-m", "casona.library.parser", str(2**30)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        frame = msgspec.msgpack.encode(Job(str(slow), "slow.html", 10, 60.0))
        worker.stdin.write(HEAD.pack(len(frame)) + frame)
        worker.stdin.close()
        assert worker.wait(timeout=10) == 0
