"""A child ends with its parent, however the parent ends, whatever it does at that moment."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from tests.engine.engine_house import DEADLINE_S, is_running

from casona.engine.options import LaunchPlan
from casona.engine.process import Child, ChildFailed

HOUSE = """
    import asyncio, os, sys
    from pathlib import Path
    from casona.engine.engine import Engine
    from casona.engine.shelf import Shelf
    from casona.settings import Engine as Settings

    async def main(home):
        engine = Engine(Settings(context=512), Shelf(home / "models"), home_dir=home)
        await engine.acquire("tiny")
        print("loaded", flush=True)
        while sys.stdin.readline() != "leave\\n":
            pass

    asyncio.run(main(Path(sys.argv[1])))
"""
ENDS: dict[str, Callable[[subprocess.Popen[str]], object]] = {
    "kill -9": lambda house: house.send_signal(signal.SIGKILL),
    "SIGTERM": lambda house: house.send_signal(signal.SIGTERM),
    "normal exit": lambda house: house.communicate("leave\n"),
}


def wait_until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.01)


@pytest.fixture
def house(tiny_gguf: Path, tmp_path: Path):
    """A process that owns an engine with one model loaded."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/tiny.gguf").symlink_to(tiny_gguf)
    program = [sys.executable, "-c", textwrap.dedent(HOUSE), tmp_path]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "loaded\n"
        children = psutil.Process(process.pid).children()
        yield process
        process.kill()
        for (
            child
        ) in children:  # one that outlives its house, so that a test fails, shall not outlive the test
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.mark.parametrize("end", ENDS)
def test_no_child_survives_the_house(house: subprocess.Popen[str], end: str) -> None:
    (child,) = psutil.Process(house.pid).children()
    ENDS[end](house)
    wait_until(lambda: not is_running(child.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a forked guard does it, tested below")
def test_not_even_a_child_that_can_run_no_code(house: subprocess.Popen[str]) -> None:
    """As while it loads: the interpreter is locked. A stopped process runs nothing at all."""
    (child,) = psutil.Process(house.pid).children()
    child.suspend()
    house.kill()
    wait_until(lambda: not is_running(child.pid))


GUARDED = """
    import os, signal, time
    from casona.engine import child
    child._fork_guard()
    print(os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def guarded():
    """A stopped process with the guard that other systems than Linux have."""
    program = [sys.executable, "-c", textwrap.dedent(GUARDED)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        yield process
        process.kill()


def test_the_guard_kills_when_standard_input_closes(guarded: subprocess.Popen[str]) -> None:
    assert guarded.stdin
    guarded.stdin.close()
    assert guarded.wait(DEADLINE_S) == -signal.SIGKILL


def test_the_guard_ends_when_the_guarded_does(guarded: subprocess.Popen[str]) -> None:
    (guard,) = psutil.Process(guarded.pid).children()
    guarded.kill()
    wait_until(lambda: not is_running(guard.pid))


def start(*, parent: int | None = None, **plan: str | int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "casona.engine.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    orders = {
        "plan": asdict(LaunchPlan(**{"name": "tiny", "model": "tiny.gguf", **plan})),  # type: ignore[arg-type]
        "api_key": "secret",
        "parent": parent or os.getpid(),
        "program": [],
    }
    assert process.stdin
    process.stdin.write(json.dumps(orders).encode() + b"\n")
    process.stdin.flush()
    return process


def test_standard_output_has_the_address_and_nothing_else(tiny_gguf: Path) -> None:
    with start(model=str(tiny_gguf), context_tokens=512) as child:
        assert child.stdout
        told = json.loads(child.stdout.readline())
        assert (told["ready"], told["url"].rpartition(":")[0]) == (True, "http://127.0.0.1")
        out, log = child.communicate()
        assert (out, child.returncode) == (b"", 0)
        assert b"model loaded" in log


def test_a_child_whose_parent_has_gone_does_not_start(tiny_gguf: Path) -> None:
    with start(model=str(tiny_gguf), parent=1) as child:
        assert child.communicate()[0] == b""
        assert child.returncode == 1


def test_a_child_without_orders_ends() -> None:
    ended = subprocess.run([sys.executable, "-m", "casona.engine.child"], input=b"", capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_a_child_that_cannot_begin_is_told_of_in_its_last_words() -> None:
    async def run() -> None:
        plan = LaunchPlan(name="tiny", model="tiny.gguf")
        child = await Child.start(plan, [sys.executable, "-c", "import a_library_that_is_missing"])
        with pytest.raises(ChildFailed, match="No module named 'a_library_that_is_missing'"):
            await child.ready()

    asyncio.run(run())
