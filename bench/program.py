"""A measured program: started on its core, asked if it is ready, weighed, stopped with all it started."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import psutil

from bench.place import pin

POLL_S = 0.005  # finer than any start-up worth telling apart
STOP_S = 15.0


class NotReady(Exception):
    """The program ended, or did not answer in time; the message carries the end of its log."""


class Program:
    """Use as a context manager: leaving it stops the program and everything it started.

    It runs in the folder of its log, or in `cwd`.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        core: int | None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd or log.parent,
                env={**_own_environment(), **(env or {})},
                start_new_session=True,
                preexec_fn=partial(pin, core),
            )
        self._started_s = time.monotonic()

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_ready(self, port: int, path: str, *, limit_s: float = 90.0) -> float:
        """Seconds from the start to the first 200 from `path`. Raises NotReady."""
        while (waited_s := time.monotonic() - self._started_s) < limit_s:
            if self._process.poll() is not None:
                raise NotReady(f"it ended with code {self._process.returncode}: {self._last_words()}")
            if answers(port, path):
                return time.monotonic() - self._started_s
            time.sleep(POLL_S)
        raise NotReady(f"it did not answer within {waited_s:.0f} s: {self._last_words()}")

    def resident_bytes(self) -> int:
        """Resident memory of the program and everything it started."""
        total = 0
        for each in self._family():
            with suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
        return total

    def cpu_s(self) -> float:
        """Processor seconds that the program and everything it started have used."""
        total = 0.0
        for each in self._family():
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system
        return total

    def stop(self) -> None:
        """Ask the program to end, and end it if it does not; nothing of it is left."""
        family = self._family()
        if self._process.poll() is None:
            self._process.terminate()
        _, alive = psutil.wait_procs(family, timeout=STOP_S)
        for each in alive:
            each.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"


def answers(port: int, path: str) -> bool:
    """Whether a GET of `path` on this machine's `port` gives 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _own_environment() -> dict[str, str]:
    """The environment without settings of a house, and with loopback reached directly."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CASONA_")}
    return kept | {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
