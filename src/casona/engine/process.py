"""A child as its parent sees it: started, ready, ended. The child's own half is `child.py`."""

import asyncio
import json
import logging
import os
import re
import secrets
import signal
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from casona.engine import probe
from casona.engine.options import LaunchPlan

LOAD_LIMIT_S = 3600.0  # a 400 GB model from a slow disk; after that it hangs
STOP_S = 3.0
KEPT_LINES = 80
LINE_BYTES = 2000
_HEAD = re.compile(r"^(?:[\d.]+ )?(?:[DIWE] )?(?:\S+ +\S+: )?")  # "0.00.004.492 E srv  load_model: "
_FAULT = re.compile(r"^[\d.]+ E |GGML_ASSERT|\berror\b|failed|invalid argument|out of memory", re.IGNORECASE)
_CRASH = re.compile(
    r"GGML_ASSERT|GGML_ABORT|terminate called|(CUDA|ROCm|HIP|Vulkan|SYCL|Metal) error|out of memory"
)
_log = logging.getLogger(__name__)


class ChildFailed(Exception):
    """The child ended, or never began; `str(error)` says why, with llama.cpp's own last words.

    `killed` when somebody ended it from outside: the operator, or a system without memory.
    """

    def __init__(self, reason: str, *, killed: bool = False) -> None:
        super().__init__(reason)
        self.killed = killed


class Child:
    """One process that serves one model. Every method is called on the event loop that started it."""

    def __init__(self, plan: LaunchPlan, process: asyncio.subprocess.Process, api_key: str) -> None:
        self.plan = plan
        self.api_key = api_key
        self.url = ""
        self.pid = process.pid
        self._process = process
        self._serving = False
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._listening = asyncio.create_task(self._listen())
        self.ended = asyncio.create_task(self._watch())

    @classmethod
    async def start(cls, plan: LaunchPlan, program: Sequence[str] = ()) -> "Child":
        """`program` is a llama-server with its arguments, to be run instead of the built-in one."""
        process = await spawn()
        api_key = secrets.token_urlsafe(32)
        child = cls(plan, process, api_key)
        orders = {"plan": asdict(plan), "api_key": api_key, "parent": os.getpid(), "program": list(program)}
        assert process.stdin
        process.stdin.write(json.dumps(orders).encode() + b"\n")
        return child

    async def ready(self) -> None:
        """Return when it serves. Raises ChildFailed; the child has ended then."""
        try:
            async with asyncio.timeout(LOAD_LIMIT_S):
                await self._until_ready()
        except TimeoutError:
            await self.stop()
            raise ChildFailed(f"was not loaded after {LOAD_LIMIT_S:.0f} s") from None
        except BaseException:
            self._kill(signal.SIGKILL)
            await asyncio.wait({self.ended})
            raise

    async def _until_ready(self) -> None:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        try:
            told = json.loads(line)
        except ValueError:  # it ended before it had said anything
            told = {"fault": ""}
        if "fault" in told:
            raise await self._failure(told["fault"])
        self.url = told["url"]
        while not told["ready"] and not await asyncio.to_thread(probe.is_ready, self.url, self.api_key):
            if self.is_gone():
                raise await self._failure()
            await asyncio.sleep(0.05)
        self._serving = True

    async def _failure(self, told: str = "") -> ChildFailed:
        reason = await self.cause(told)
        return ChildFailed(reason, killed=self.ended.result() == -signal.SIGKILL)

    def is_gone(self) -> bool:
        """Whether it has ended, also when the event loop has not been told yet."""
        if self.ended.done():
            return True
        if not hasattr(os, "waitid"):
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def resident_bytes(self) -> int:
        """Memory it occupies now, the pages of the model's file that it has touched included."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def cause(self, told: str = "") -> str:
        """Why it ended: llama.cpp's own words where it had any, else what it `told`. Waits for the end."""
        code = await asyncio.shield(self.ended)
        words = self.last_words() or told or self._last_line()
        if code >= 0:
            return words or f"its process ended with code {code} and without a word"
        name = signal.Signals(-code).name
        hint = "perhaps for lack of memory" if name == "SIGKILL" else words
        return f"its process was ended by {name}" + (f", {hint}" if hint else "")

    def last_words(self) -> str:
        """What the log says of a fault.

        Of a load the first such line, which names the cause of those after it. Of a server only what
        ends a process: its other complaints are about requests, and nobody else's to read.
        """
        pattern = _CRASH if self._serving else _FAULT
        faults = [line for line in self._lines if pattern.search(line)]
        said = _HEAD.sub("", faults[0] if faults else "").strip()
        return said.replace(self.plan.model, Path(self.plan.model).name)

    def _last_line(self) -> str:
        """What an interpreter that could not even begin says: of a missing library, or of a bad path."""
        last = next((line for line in reversed(self._lines) if line), "")
        return "" if self._serving else last

    async def stop(self) -> None:
        """End it: it is asked, and killed after `STOP_S`. Returns when it is gone."""
        self._kill(signal.SIGTERM)
        done, _ = await asyncio.wait({self.ended}, timeout=STOP_S)
        if not done:
            self._kill(signal.SIGKILL)
            await asyncio.wait({self.ended})

    def _kill(self, how: signal.Signals) -> None:
        if not self.ended.done():
            try:
                self._process.send_signal(how)
            except ProcessLookupError:
                return

    async def _watch(self) -> int:
        code = await self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        # What it said last is still in the pipe; a grandchild could hold the pipe open for ever.
        await asyncio.wait({self._listening}, timeout=1)
        self._listening.cancel()
        return code

    async def _listen(self) -> None:
        assert self._process.stderr
        rest = b""
        while piece := await self._process.stderr.read(65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._note(line)
            rest = rest[-LINE_BYTES:]
        if rest:
            self._note(rest)

    def _note(self, raw: bytes) -> None:
        line = raw[:LINE_BYTES].decode("utf-8", "replace").rstrip()
        self._lines.append(line)
        _log.debug("%s: %s", self.plan.name, line)


async def spawn() -> asyncio.subprocess.Process:
    """A child that waits for its orders. Its own session: Ctrl-C is for the parent alone."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "casona.engine.child"),  # -P: a module in the working directory is not ours
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def builtin_devices() -> list[dict[str, Any]]:
    """What the built-in llama.cpp can use, asked in a child since it costs 100 MB to load. [] if it fails."""
    process = await spawn()
    try:
        out, complaint = await process.communicate(b'"devices"\n')
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        found: list[dict[str, Any]] = json.loads(out)["devices"]
    except (ValueError, KeyError):
        lines = complaint.decode("utf-8", "replace").strip().splitlines()
        _log.warning("the built-in llama.cpp does not start: %s", lines[-1] if lines else "no reason given")
        return []
    return found
