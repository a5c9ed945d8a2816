"""Lines that outlive the process, until somewhere else has them.

`append` returns when the operating system has the line: a process killed after that loses nothing (a power
cut may cost the last seconds). The rest happens a part at a time: `part` closes the present file and gives
it to be moved elsewhere, `forget` drops it when that is done. A crash between the two gives the same part
again, so who moves lines must not mind seeing them twice.
"""

import errno
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

LONGEST_LINE_BYTES = 2**20

log = logging.getLogger(__name__)


class Journal:
    """Opens `path` for this process alone; `path`.part holds what is being moved. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._appending = threading.Lock()
        self._file = _opened(path)
        self._drop_torn_line()

    def append(self, line: bytes) -> None:
        """Keep a line, which ends with its only newline. Raises OSError, and then nothing of it is kept."""
        with self._appending:
            written = os.write(self._file, line)
            if written != len(line):
                # The disk is full; the fragment would spoil the line after it.
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def part(self) -> Path | None:
        """A file of whole lines that nobody appends to any more, None when there are none.

        The same one until `forget` is called. Raises OSError.
        """
        if not self._part.exists():
            if os.fstat(self._file).st_size == 0:
                return None
            self._rotate()
        return self._part if self._part.exists() else None

    def forget(self) -> None:
        """The lines of the part are safe elsewhere. Raises OSError."""
        self._part.unlink(missing_ok=True)

    def close(self) -> None:
        with self._appending:
            os.close(self._file)

    def _rotate(self) -> None:
        draft = self._path.with_name(self._path.name + ".new")
        fresh = _opened(draft)  # first: without room for it nothing must move
        with self._appending:
            with suppress(FileNotFoundError):  # somebody removed it, and its lines with it
                self._path.rename(self._part)
            draft.replace(self._path)
            self._file, old = fresh, self._file
        os.close(old)

    def _drop_torn_line(self) -> None:
        """A power cut may leave half a line, which would spoil the next one."""
        size = os.fstat(self._file).st_size
        start = max(0, size - LONGEST_LINE_BYTES)
        tail = os.pread(self._file, size - start, start)
        whole = start + tail.rfind(b"\n") + 1
        if whole != size:
            log.warning("dropped a torn line of %d bytes at the end of %s", size - whole, self._path)
            os.ftruncate(self._file, whole)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
