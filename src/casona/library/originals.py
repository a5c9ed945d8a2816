"""The files that documents were read from, kept under the SHA-256 of their bytes.

A file is staged first: copied and hashed in one pass. Only `keep` gives it its name, so a name always
means whole bytes, and a crash leaves at most something in `staging/`, which the next start empties.
"""

import hashlib
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from casona.exchange.errors import BadRequest
from casona.library.disk import room

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Staged:
    path: Path
    hash: str
    size_bytes: int

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


class Originals:
    def __init__(self, folder: Path) -> None:
        """Make the folder, and empty its staging: whoever was copying is gone."""
        self._folder = folder
        self._staging = folder / "staging"
        with room():
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir(mode=0o700, parents=True)

    def stage(self, path: Path) -> Staged:
        """Copy the file, hashing it. Raises BadRequest when it cannot be read, OutOfSpace."""
        target = self._staging / uuid.uuid4().hex
        sha256, size = hashlib.sha256(), 0
        try:
            source = open(path, "rb")  # noqa: SIM115 - its own faults are the caller's
        except OSError as fault:
            raise BadRequest(f"{path.name}: {fault.strerror}", param="file") from fault
        try:
            with source, room(), open(target, "xb") as copy:
                while chunk := source.read(_CHUNK_BYTES):
                    sha256.update(chunk)
                    size += copy.write(chunk)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return Staged(target, sha256.hexdigest(), size)

    def keep(self, staged: Staged) -> None:
        """Give the bytes their name. When they are here already, once is enough."""
        path = self.path(staged.hash)
        with room():
            path.parent.mkdir(exist_ok=True)
            staged.path.replace(path)

    def path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def drop(self, digest: str) -> None:
        path = self.path(digest)
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def all(self) -> set[str]:
        """The hashes of all files here."""
        folders = (entry for entry in self._folder.iterdir() if entry != self._staging and entry.is_dir())
        return {file.name for folder in folders for file in folder.iterdir()}
