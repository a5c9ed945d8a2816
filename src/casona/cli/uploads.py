"""Files on their way into the library, several at once, their outcomes in order."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from casona.cli.door import Door
from casona.cli.output import CliError

IN_FLIGHT = 4
"""Files sent at once: the server reads them side by side, and one that is slow holds up no other."""

READ_AHEAD = 32
AGAIN_AFTER_S = (0.5, 2.0)
REFUSALS = (400, 413)
NOT_NOW = 503

Outcome = dict[str, Any]
Progress = Callable[[int], None]


def sent(door: Door, files: Iterable[Path], collection: str | None, progress: Progress) -> Iterator[Outcome]:
    """What became of each file: {path, outcome, document, reason}. Raises CliError when no more can be sent.

    `progress` is told, from any thread, how many more bytes have gone.
    """
    work: SimpleQueue[tuple[Path, Future[Outcome]]] = SimpleQueue()
    waiting: deque[Future[Outcome]] = deque()

    def run() -> None:
        while True:
            path, done = work.get()
            try:
                done.set_result(_sent(door, path, collection, progress))
            except BaseException as fault:  # noqa: BLE001 - told in the thread that waits for it
                done.set_exception(fault)

    for number in range(IN_FLIGHT):  # daemons: a person who has had enough need not wait for them
        Thread(target=run, name=f"upload-{number}", daemon=True).start()
    for path in files:
        done: Future[Outcome] = Future()
        waiting.append(done)
        work.put((path, done))
        if len(waiting) == READ_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def refused(path: str, reason: str) -> Outcome:
    return {"path": path, "outcome": "refused", "document": None, "reason": reason}


def _sent(door: Door, path: Path, collection: str | None, progress: Progress) -> Outcome:
    """Raises CliError for what is not the file's fault."""
    source = str(path)
    if not source.isascii() and source.encode(errors="replace").decode() != source:
        return refused(source.encode(errors="replace").decode(), "its name is not UTF-8; rename it")
    if not path.is_file():
        return refused(source, "it is not a file")
    try:
        file = path.open("rb")
    except OSError as fault:
        return refused(source, f"it cannot be read: {fault.strerror}")
    with file:
        for pause_s in (*AGAIN_AFTER_S, None):
            try:
                outcome: Outcome = door.put_file(
                    "/library/documents", file, progress=progress, source=source, collection=collection
                )
            except CliError as fault:
                if fault.status in REFUSALS:
                    return refused(source, str(fault))
                if fault.status != NOT_NOW or pause_s is None:
                    raise
                time.sleep(pause_s)
            else:
                return outcome
    raise AssertionError("the last attempt returns or raises")
