"""Parsers in processes of their own, so that a strange file costs itself and nothing else.

Each worker is a fresh interpreter (never a fork), parses one document at a time, and is killed when it takes
too long or too much memory. When one dies its document is refused; the next gets a new worker.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Self

import msgspec
import psutil

from casona.library.document import Document, Refused
from casona.library.parser import HEAD, Job, Reply
from casona.settings import Library

log = logging.getLogger(__name__)

_WATCH_S = 0.1
_DOCUMENTS_PER_WORKER = 200
_LARGE_SHARE = 0.25
_DYING_S = 1.0
_START_TIMEOUT_S = 60.0
_PIPE_BYTES = 2**20
_MAX_FRAME_BYTES = 2**30


class Parsers:
    """At most `settings.parse_workers` workers, started on demand and used again."""

    def __init__(self, settings: Library) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(settings.parse_workers)
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._closed = False

    async def parse(self, path: Path, name: str) -> Document:
        """Read the document at `path`, which its owner calls `name`. Raises Refused.

        Waits for a free worker. Cancelling kills the worker at work. Raises RuntimeError when the parsers
        are closed, before or meanwhile: that is nothing to blame the document for.
        """
        async with self._free:
            self._refuse_closed()
            worker = self._idle.pop() if self._idle else await self._start()
            try:
                self._refuse_closed()
                return await worker.run(self._job(path, name))
            except Refused:
                self._refuse_closed()
                raise
            finally:
                if worker.is_spent or self._closed:
                    await self._end(worker)
                else:
                    self._idle.append(worker)

    async def close(self) -> None:
        """Kill all workers, also those at work. May be called again."""
        self._closed = True
        self._idle.clear()
        await asyncio.gather(*(worker.end() for worker in self._workers))
        self._workers.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the parsers are closed")

    def _job(self, path: Path, name: str) -> Job:
        settings = self._settings
        return Job(str(path.resolve()), name, settings.max_pages, settings.parse_timeout_s)

    async def _start(self) -> "_Worker":
        worker = await _Worker.start(self._settings)
        self._workers.add(worker)
        return worker

    async def _end(self, worker: "_Worker") -> None:
        self._workers.discard(worker)
        await worker.end()


class _Worker:
    def __init__(self, process: Process, memory_bytes: int) -> None:
        self._process = process
        self._memory_bytes = memory_bytes
        self._watched = psutil.Process(process.pid)
        self._decode = msgspec.msgpack.Decoder(Reply).decode
        self._done = 0
        self.is_spent = False

    @classmethod
    async def start(cls, settings: Library) -> Self:
        """A worker that is ready. Raises Refused when none can be had: the machine is short of something."""
        limit = settings.parse_memory_bytes
        command = (sys.executable, "-P", "-m", "casona.library.parser", str(limit))
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=_PIPE_BYTES)
        worker = cls(process, limit)
        try:
            await asyncio.wait_for(worker._read_frame(), _START_TIMEOUT_S)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            await worker.end()
            raise Refused("no parser could be started; try again, and see the log") from error
        except BaseException:
            await worker.end()
            raise
        return worker

    async def run(self, job: Job) -> Document:
        """Raises Refused. After anything but an answer the worker is dead, and spent."""
        answer = asyncio.ensure_future(self._ask(job))
        try:
            await self._watch(answer, job.timeout_s)
            reply = self._decode(answer.result())
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError) as error:
            await self._bury()
            raise Refused(f"it is broken: the parser died of it ({self._cause()})") from error
        except BaseException:
            answer.cancel()
            await self._kill()
            raise
        self._done += 1
        self.is_spent = self._done >= _DOCUMENTS_PER_WORKER or self._rss() > _LARGE_SHARE * self._memory_bytes
        if reply.document is None:
            raise Refused(reply.refused)
        return reply.document

    async def end(self) -> None:
        await self._kill()

    async def _ask(self, job: Job) -> bytes:
        assert self._process.stdin is not None
        frame = msgspec.msgpack.encode(job)
        self._process.stdin.write(HEAD.pack(len(frame)) + frame)
        await self._process.stdin.drain()
        return await self._read_frame()

    async def _read_frame(self) -> bytes:
        assert self._process.stdout is not None
        (length,) = HEAD.unpack(await self._process.stdout.readexactly(HEAD.size))
        if length > _MAX_FRAME_BYTES:
            raise msgspec.DecodeError(f"a frame of {length} bytes")
        return await self._process.stdout.readexactly(length)

    async def _watch(self, answer: asyncio.Future[bytes], timeout_s: float) -> None:
        """Come back when the answer is there. Raises Refused when the job outgrows its time or memory."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not answer.done():
            await asyncio.wait({answer}, timeout=min(_WATCH_S, max(deadline - loop.time(), 0)))
            if answer.done():
                return
            if self._rss() > self._memory_bytes:
                limit_mib = self._memory_bytes // 2**20
                raise Refused(f"it takes more than {limit_mib} MiB to read (library.parse_memory_bytes)")
            if loop.time() >= deadline:
                raise Refused(f"it takes longer than {timeout_s:g} s to read (library.parse_timeout_s)")

    def _rss(self) -> int:
        try:
            return int(self._watched.memory_info().rss)
        except psutil.Error:
            return 0  # it has just died; reading its answer will tell

    async def _kill(self) -> None:
        self.is_spent = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _bury(self) -> None:
        """End a worker that has most likely died: killing it at once would hide what it died of."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _DYING_S)
        await self._kill()

    def _cause(self) -> str:
        code = self._process.returncode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
