"""`casona serve` as a process of its own: how it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from casona.cli.client import Client
from casona.home import Home

DEADLINE_S = 60.0


@contextmanager
def served(home: Home, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """A server that has said it is ready."""
    own = {**os.environ, "CASONA_DISCOVERY__OLLAMA": "false", **settings}
    command = [sys.executable, "-m", "casona", "serve", "--home", str(home.path), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own
    ) as process:
        try:
            assert process.stdout
            assert "is ready at" in process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.fixture
def home(tmp_path: Path, tiny_gguf: Path) -> Home:
    home = Home(tmp_path / "mi casa ñandú")
    home.models_dir.mkdir(parents=True)
    (home.models_dir / "tiny.gguf").symlink_to(tiny_gguf)
    return home


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_server_told_to_stop_leaves_a_closed_house(home: Home, number: signal.Signals, code: int) -> None:
    with served(home) as server:
        announced, key = home.announcement(), home.admin_key()
        assert announced
        assert key
        question = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        Client(announced.url, key).post_json("/v1/chat/completions", question)
        (child,) = psutil.Process(server.pid).children()
        server.send_signal(number)
        _, complaint = server.communicate(timeout=DEADLINE_S)
    assert server.returncode == code
    assert [line for line in complaint.splitlines() if line and " INFO " not in line] == []
    left = sorted(path.name for path in home.path.iterdir())
    assert left == ["admin.key", "casona.db", "library", "lock", "models", "usage.journal"]
    assert home.journal_path.read_bytes() == b""
    assert not child.is_running()


def test_a_stop_while_it_still_starts_is_a_stop(home: Home) -> None:
    command = [sys.executable, "-m", "casona", "serve", "--home", str(home.path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(home.lock_path.exists)
        process.terminate()
        _, complaint = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, complaint, home.announcement()) == (0, "", None)


def test_nobody_need_listen_to_the_greeting(home: Home) -> None:
    with served(home) as server:
        assert server.stdout
        server.stdout.close()
        announced = home.announcement()
        assert announced
        client = Client(announced.url, home.admin_key() or "")
        wait_until(lambda: [model["id"] for model in client.get_json("/v1/models")["data"]] == ["tiny"])
        server.terminate()
        _, complaint = server.communicate(timeout=DEADLINE_S)
    assert (server.returncode, complaint) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_a_server_needs_no_standard_streams(tmp_path: Path, closed: str) -> None:
    home = Home(tmp_path)
    start = f'exec "{sys.executable}" -m casona serve --home "{tmp_path}" --port 0 {closed}'
    with subprocess.Popen(["sh", "-c", start], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        wait_until(lambda: home.announcement() is not None)
        announced = home.announcement()
        assert announced
        assert Client(announced.url, home.admin_key() or "").get_json("/v1/models")["data"] == []
        server.terminate()
        _, complaint = server.communicate(timeout=DEADLINE_S)
    assert (server.returncode, complaint) == (0, b"")


def wait_until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.01)
