"""The one promise every peer makes, and how peers are installed."""

import hashlib
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.calls import Call
from bench.options import INSTALLED
from bench.program import Program

LOCKS = Path(__file__).resolve().parent


class Unavailable(Exception):
    """This peer cannot be installed or found here; the message says why."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Ports of the mock nodes behind every proxy: one answers at once, the other streams."""

    instant: int
    streams: int


class Peer(ABC):
    """A proxy in front of the mock nodes. One object per start; `folder` is its own, and empty at first."""

    name: ClassVar[str]
    health: ClassVar[str]
    keeps_state: ClassVar[bool] = False  # whether a first start differs from the following ones

    def __init__(self, folder: Path, port: int, nodes: Nodes) -> None:
        self.folder = folder
        self.port = port
        self.nodes = nodes

    @classmethod
    @abstractmethod
    def install(cls) -> str:
        """Make it ready to start, unless it is; gives its version. Raises Unavailable."""

    @abstractmethod
    def prepare(self) -> None:
        """Write its configuration."""

    @abstractmethod
    def command(self) -> list[str | Path]: ...

    def environment(self) -> Mapping[str, str]:
        return {}

    @abstractmethod
    def call(self, *, streamed: bool) -> Call:
        """The request that goes through this proxy to the instant or the streaming node."""

    def start(self, core: int | None) -> Program:
        log = self.folder / "output.log"
        return Program(self.command(), log=log, core=core, env=self.environment())


def find_program(name: str, where: Sequence[str] = ()) -> Path | None:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *where])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def install_python(name: str) -> Path:
    """An environment of its own with what `NAME.txt` locks; gives the folder of its programs."""
    lock = LOCKS / f"{name}.txt"
    folder = INSTALLED / name
    stamp = folder / "installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == wanted):
        uv = find_program("uv", [str(Path(sys.executable).parent)])
        if uv is None:
            raise Unavailable("uv is not installed")
        print(f"installing {name} into {folder.relative_to(INSTALLED.parent)} ...", flush=True)
        run_installer([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder])
        run_installer([uv, "pip", "install", "--quiet", "--python", folder, "--require-hashes", "-r", lock])
        stamp.write_text(wanted)
    return folder / "bin"


def run_installer(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """What the installer printed. Raises Unavailable with its last line."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=os.environ | _package_index(), capture_output=True, text=True, timeout=900
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise Unavailable(f"it could not be installed: {fault}") from fault
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise Unavailable(f"it could not be installed: {said[0] if said else command}")
    return done.stdout


def _package_index() -> dict[str, str]:
    """A package index that pip was told about serves uv too."""
    if "UV_DEFAULT_INDEX" in os.environ:
        return {}
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    told = os.environ.get("PIP_INDEX_URL") or subprocess.run(asked, capture_output=True, text=True).stdout
    return {"UV_DEFAULT_INDEX": told.strip()} if told.strip() else {}
