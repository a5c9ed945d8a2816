"""The home directory of a house: where everything lies, and who has it open.

    casona.yaml casona.db admin.key (0600) server.json (0600, while a server runs) lock usage.journal
    models/ library/ logs/

One process at a time has a house open and holds `lock` for its life; the others work through its API.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from casona.exchange.errors import CasonaError, Conflict, OutOfSpace

LOCK_NAMED_AFTER_S = 0.2  # a holder writes its name right after it has locked


class HouseInUse(Conflict):
    """Another process has the house open. `pid` is None when it did not say its own."""

    def __init__(self, path: Path, pid: int | None, what: str) -> None:
        who = f"process {pid} ({what})" if pid else "another process"
        super().__init__(f"the house {path} is in use by {who}; wait until it ends, or stop it")
        self.pid = pid
        self.what = what


@dataclass(frozen=True, slots=True)
class Announcement:
    """What `server.json` says: where the house's server listens.

    `instance` is random and new at every start. A caller sends its key only after `/health` has returned
    it, so a program that took over the port of a dead server gets none.
    """

    url: str
    pid: int
    instance: str


class Home:
    """Paths of one house. Making one touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.config_path = self.path / "casona.yaml"
        self.database_path = self.path / "casona.db"
        self.admin_key_path = self.path / "admin.key"
        self.journal_path = self.path / "usage.journal"
        self.server_json = self.path / "server.json"
        self.lock_path = self.path / "lock"
        self.models_dir = self.path / "models"
        self.library_dir = self.path / "library"
        self.logs_dir = self.path / "logs"

    def create(self) -> None:
        """Make the directory, closed to others, unless it is there. Raises CasonaError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as fault:
            raise CasonaError(f"{self.path} is a file; name a directory with --home") from fault
        except OSError as fault:
            raise _unusable(self.path, fault) from fault

    @contextmanager
    def lock(self, what: str = "casona") -> Iterator[None]:
        """Have the house to oneself; `what` tells others who has it. Raises HouseInUse.

        The lock is the operating system's, so it goes with the process however that ends. The file stays:
        removing it would let two processes lock two files of one name.
        """
        self.create()
        try:
            file = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as fault:
            raise _unusable(self.lock_path, fault) from fault
        try:
            self._take(file)
            _rewrite(file, f"{os.getpid()} {what}\n")
            yield
        finally:
            os.close(file)

    def _take(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            if fault.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise _unusable(self.lock_path, fault) from fault
            pid, what = self._holder()
            raise HouseInUse(self.path, pid, what) from fault

    def _holder(self) -> tuple[int | None, str]:
        deadline = time.monotonic() + LOCK_NAMED_AFTER_S
        while True:
            pid, _, what = self.lock_path.read_text(errors="replace").strip().partition(" ")
            if pid.isdecimal():
                return int(pid), what
            if time.monotonic() > deadline:
                return None, ""
            time.sleep(0.01)

    @contextmanager
    def announced(self, url: str, instance: str) -> Iterator[Announcement]:
        """Tell other processes where this house's server is, for as long as it runs.

        Only who holds the lock may announce, so what is there already is left from a crash.
        """
        announcement = Announcement(url, os.getpid(), instance)
        write_private(self.server_json, json.dumps(asdict(announcement)) + "\n")
        try:
            yield announcement
        finally:
            if self.announcement() == announcement:
                self.server_json.unlink(missing_ok=True)

    def announcement(self) -> Announcement | None:
        """What `server.json` says, None when there is none or it makes no sense.

        It may be left from a crash: only a `/health` that returns its `instance` proves it true.
        """
        try:
            said = json.loads(self.server_json.read_bytes())
            found = Announcement(said["url"], said["pid"], said["instance"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        whole = isinstance(found.url, str) and isinstance(found.pid, int) and isinstance(found.instance, str)
        return found if whole and found.url and found.instance else None

    def admin_key(self) -> str | None:
        """The key in `admin.key`, None when there is none."""
        try:
            return self.admin_key_path.read_text().strip() or None
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as fault:
            raise CasonaError(f"{self.admin_key_path} cannot be read: {fault}") from fault


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; a reader sees the old one or the new one, never a half.

    Raises OutOfSpace, CasonaError.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _rewrite(file, text)
            os.fsync(file)
        finally:
            os.close(file)
        draft.replace(path)
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise _unusable(path, fault) from fault


def _rewrite(file: int, text: str) -> None:
    os.ftruncate(file, 0)
    data = text.encode()
    if os.pwrite(file, data, 0) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unusable(path: Path, fault: OSError) -> CasonaError:
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(f"no space left for {path}; free some and try again")
    return CasonaError(f"{path} cannot be used: {fault.strerror}; name another directory with --home")
