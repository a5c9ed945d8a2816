"""The program of a worker: reads jobs from standard input, answers each on standard output.

`python -m casona.library.parser MEMORY_BYTES`. Frames are a length (8 bytes, big-endian) and MessagePack; an
empty one says that the worker is ready. One job at a time. It ends when its input closes, so that it cannot
outlive the process that started it.
"""

import contextlib
import os
import queue
import signal
import struct
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import msgspec

from casona.library.document import Document, Refused
from casona.library.load import load

HEAD = struct.Struct(">Q")
GRACE_S = 5
_NICENESS = 5  # reading documents yields to answering people
ADDRESS_SLACK_BYTES = 512 * 2**20
"""Address space beyond the memory allowed, for libraries and stacks that are mapped and never touched."""


class Job(msgspec.Struct, array_like=True, frozen=True):
    path: str
    name: str
    max_pages: int
    timeout_s: float


class Reply(msgspec.Struct, array_like=True, frozen=True):
    """Either the document, or why it was refused."""

    document: Document | None
    refused: str = ""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the house; it closes our input
    os.nice(_NICENESS)
    answers = _own_output()
    _limit_memory(int(sys.argv[1]))
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(sys.stdin.buffer, jobs), daemon=True).start()
    encode = msgspec.msgpack.Encoder().encode
    frame = b""  # the first frame is empty: ready
    while True:
        answers.write(HEAD.pack(len(frame)))
        answers.write(frame)
        answers.flush()
        frame = encode(answer(jobs.get()))


def answer(job: Job) -> Reply:
    """Do one job. Never raises: a parser that trips over a strange file refuses that file."""
    # The default action of SIGALRM ends the process, even when C code holds the interpreter: the last resort,
    # should the parent not kill it in time.
    signal.alarm(int(job.timeout_s) + GRACE_S)
    try:
        return Reply(document=load(Path(job.path), name=job.name, max_pages=job.max_pages))
    except Refused as refused:
        return Reply(document=None, refused=refused.reason)
    except MemoryError:
        return Reply(
            document=None, refused="it takes more memory to read than library.parse_memory_bytes allows"
        )
    except RecursionError:
        return Reply(document=None, refused="it is broken: its parts are nested too deep")
    except Exception as error:  # noqa: BLE001 - the edge: strangers' files meet parsers here
        import traceback

        traceback.print_exc()
        return Reply(document=None, refused=f"it is broken: it cannot be read ({type(error).__name__})")
    finally:
        signal.alarm(0)


def _own_output() -> BinaryIO:
    """Keep standard output for answers; whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _limit_memory(limit_bytes: int) -> None:
    """Linux keeps to it; macOS ignores it, and there the parent's watch must do."""
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes + ADDRESS_SLACK_BYTES,) * 2)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_jobs(source: BinaryIO, jobs: queue.SimpleQueue[Job]) -> None:
    decode = msgspec.msgpack.Decoder(Job).decode
    while head := source.read(HEAD.size):
        jobs.put(decode(source.read(HEAD.unpack(head)[0])))
    os._exit(0)  # the parent is gone; nobody waits for what is being parsed


if __name__ == "__main__":
    main()
