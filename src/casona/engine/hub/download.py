"""Fetching one file: resumed where it was left, hashed as it comes, in its place only when it is right.

    blobs/sha256-….gguf.partial        the bytes so far
    blobs/sha256-….gguf.partial.json   what they are of, so that they are not continued with others

A file's name in the end is its verified content's, so what lies there is whole.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from casona.engine.hub.offer import Item
from casona.engine.hub.web import Answer, Cancel, Unreachable, Web, refuse, retry_after_s
from casona.exchange.errors import LimitReached, NodeFailed, NodeTimedOut, OutOfSpace

PIECE_BYTES = 2**20
SPARE_BYTES = 256 * 2**20  # left free for the house's own records
CHECK_SPACE_EVERY_BYTES = 64 * 2**20
LONGEST_WAIT_S = 60.0
Progress = Callable[[int], None]


class WrongContent(NodeFailed):
    """What came is not what was promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """`tries` in a row may bring nothing before it gives up; waits double from `wait_s`."""

    tries: int = 6
    wait_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Blocking; run it in a thread. `models_dir` is where items' places begin."""

    web: Web
    models_dir: Path
    cancel: Cancel
    patience: Patience = Patience()
    spare_bytes: int = SPARE_BYTES

    def fetch(self, item: Item, progress: Progress) -> Path:
        """Put the file in its place, and tell `progress` how many of its bytes are there.

        Raises OutOfSpace, WrongContent, Cancelled, NotFound, Forbidden, LimitReached, NodeFailed. What
        was fetched stays for the next try, unless it was wrong.
        """
        target = self.models_dir / item.place
        if target.exists() and target.stat().st_size == item.size_bytes:
            progress(item.size_bytes)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _Transfer(self, item, target, progress).run()
        except OSError as error:
            raise _no_room_or(error, target) from error


class _Transfer:
    def __init__(self, download: Download, item: Item, target: Path, progress: Progress) -> None:
        self._download = download
        self._item = item
        self._target = target
        self._progress = progress
        self._partial = target.with_name(target.name + ".partial")
        self._sidecar = target.with_name(target.name + ".partial.json")
        self._hash = hashlib.sha256()
        self._have = 0
        self._etag = ""

    def run(self) -> Path:
        with self._opened() as file:
            resumed = self._take_up(file)
            self._check_space()
            self._fill(file)
            if self._hash.hexdigest() != self._item.digest and resumed:
                self._restart(file)
                self._fill(file)
            if self._hash.hexdigest() != self._item.digest:
                self._forget()
                raise WrongContent(f"{self._target.name} came with wrong content (its checksum differs)")
            file.flush()
            os.fsync(file.fileno())
        self._partial.replace(self._target)
        self._sidecar.unlink(missing_ok=True)
        _sync(self._target.parent)
        return self._target

    def _opened(self) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        return os.fdopen(os.open(self._partial, flags, 0o644), "r+b")

    def _take_up(self, file: BinaryIO) -> bool:
        """Hash what an earlier try left, if it is of the same file. Whether there was anything."""
        told = _read_sidecar(self._sidecar)
        size = file.seek(0, os.SEEK_END)
        if told.get("digest") != self._item.digest or size > self._item.size_bytes:
            self._restart(file)
            return False
        self._etag = told.get("etag", "")
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            self._download.cancel.check()
            self._add(piece)
        return self._have > 0

    def _restart(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        self._hash, self._have, self._etag = hashlib.sha256(), 0, ""
        self._write_sidecar()
        self._progress(0)

    def _fill(self, file: BinaryIO) -> None:
        """Ask until everything is there; each try that brings something earns new patience."""
        patience = self._download.patience
        left, wait_s = patience.tries, patience.wait_s
        while self._have < self._item.size_bytes:
            before = self._have
            try:
                self._ask(file)
                problem: NodeFailed | LimitReached = Unreachable(f"{self._target.name} ends too soon")
            except (Unreachable, NodeTimedOut, LimitReached) as error:
                problem = error
            if self._have >= self._item.size_bytes:
                return
            if self._have > before:
                left, wait_s = patience.tries, patience.wait_s
            left -= 1
            asked_s = problem.retry_after_s if isinstance(problem, LimitReached) else 0.0
            if left <= 0 or asked_s > LONGEST_WAIT_S:
                raise problem
            self._download.cancel.wait(max(wait_s, asked_s))
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _ask(self, file: BinaryIO) -> None:
        headers = {"Range": f"bytes={self._have}-"} if self._have else {}
        if self._have and self._etag:
            headers["If-Range"] = self._etag
        with self._download.web.get(self._item.url, headers, self._download.cancel) as answer:
            if answer.status == 416 or (answer.status == 206 and not self._continues(answer.headers)):
                self._restart(file)
                raise Unreachable(f"{answer.host} cannot go on from where the transfer was cut")
            if answer.status >= 500:
                raise Unreachable(f"{answer.host} answered {answer.status}; try again later")
            if answer.status not in (200, 206):
                raise _refused(answer, self._target.name, self._download.patience.wait_s)
            if answer.status == 200 and self._have:
                self._restart(file)
            self._etag = answer.headers.get("ETag", "")
            self._write_sidecar()
            self._receive(answer, file)

    def _continues(self, headers: Message) -> bool:
        given = headers.get("Content-Range", "")
        same = not self._etag or headers.get("ETag", self._etag) == self._etag
        return same and given.startswith(f"bytes {self._have}-")

    def _receive(self, answer: Answer, file: BinaryIO) -> None:
        file.seek(self._have)
        until_check = CHECK_SPACE_EVERY_BYTES
        while piece := answer.read(PIECE_BYTES):
            if self._have + len(piece) > self._item.size_bytes:
                self._forget()
                raise WrongContent(f"{answer.host} sends more of {self._target.name} than it promised")
            file.write(piece)
            self._add(piece)
            until_check -= len(piece)
            if until_check <= 0:
                file.flush()
                self._check_space()
                until_check = CHECK_SPACE_EVERY_BYTES
        file.flush()

    def _add(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._have += len(piece)
        self._progress(self._have)

    def _check_space(self) -> None:
        check_space(self._target.parent, self._item.size_bytes - self._have, self._download.spare_bytes)

    def _write_sidecar(self) -> None:
        told = {"digest": self._item.digest, "size_bytes": self._item.size_bytes, "etag": self._etag}
        self._sidecar.write_text(json.dumps(told), encoding="utf-8")

    def _forget(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._sidecar.unlink(missing_ok=True)


def check_space(directory: Path, needed_bytes: int, spare_bytes: int = SPARE_BYTES) -> None:
    """Raises OutOfSpace unless that much fits and something stays free for the rest of the house."""
    free = shutil.disk_usage(directory).free
    if needed_bytes + spare_bytes > free:
        raise OutOfSpace(
            f"the disk has {free / 1e9:.1f} GB free and this needs {needed_bytes / 1e9:.1f} GB "
            f"(and {spare_bytes / 1e9:.1f} GB to spare); remove a model with `casona models remove`"
        )


def _refused(answer: Answer, what: str, wait_s: float) -> Exception:
    if answer.status == 429:
        asked_s = retry_after_s(answer.headers) or wait_s
        return LimitReached(f"{answer.host} asks to wait {asked_s:.0f} s", retry_after_s=asked_s)
    return refuse(answer.status, answer.host, what, answer.headers)


def _read_sidecar(path: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        told = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(told, dict):
            return {key: value for key, value in told.items() if isinstance(value, str)}
    return {}


def _sync(directory: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _no_room_or(error: OSError, target: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(f"the disk is full; {target.name} goes on from here when there is room again")
    return NodeFailed(f"{target.name} cannot be written: {error.strerror or error}")
