"""One model that is being loaded, serves, or is leaving; and a lease on it."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from casona.engine.evict import Occupant
from casona.engine.process import Child
from casona.engine.shelf import ModelFile
from casona.engine.sizing import PROCESS_BYTES, Sizing

State = Literal["loading", "ready", "draining", "gone"]
_ids = count()


@dataclass(slots=True, kw_only=True, eq=False)
class Loaded:
    """`loading` -> `ready` -> `draining` -> `gone`; any of them may become `gone` when the process dies.

    `users` hold a lease, `waiters` wait for one: both make it busy. `job` loads it and never raises: `fault`
    is then why it could not be loaded. `sizing` is known once the job has planned.
    """

    file: ModelFile
    keep_alive_s: float
    sizing: Sizing | None = None
    state: State = "loading"
    fault: str = ""
    job: asyncio.Task[None] | None = None
    users: int = 0
    waiters: int = 0
    child: Child | None = None
    id: int = field(default_factory=lambda: next(_ids))
    begun_s: float = field(default_factory=time.monotonic)
    idle_since_s: float = field(default_factory=time.monotonic)
    expires_at: float = math.inf
    timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def busy(self) -> int:
        return self.users + self.waiters

    @property
    def serves(self) -> bool:
        return self.state == "ready" and self.child is not None and not self.child.is_gone()

    def occupant(self) -> Occupant:
        assert self.state != "gone"
        assert self.sizing
        return Occupant(
            id=self.id,
            memory_bytes=self.sizing.memory_bytes,
            state=self.state,
            busy=self.busy,
            idle_since_s=self.idle_since_s,
            kept=math.isinf(self.keep_alive_s),
        )

    def progress(self) -> float | None:
        """How much of the model's file is in the child's memory, 0 to 0.99; None before that is known.

        llama.cpp does not tell how far it is, so this is measured from outside: the process's resident
        memory against the file's size. On a GPU that does not share memory it says little.
        """
        if self.state != "loading" or self.child is None:
            return None
        there = max(0, self.child.resident_bytes() - PROCESS_BYTES)
        return min(0.99, there / max(1, self.file.size_bytes))

    def expire_after(self, seconds: float, then: Callable[[], None]) -> None:
        """Call `then` when it has been unused for so long."""
        self.stay()
        self.expires_at = time.time() + seconds
        if not math.isinf(seconds):
            self.timer = asyncio.get_running_loop().call_later(seconds, then)

    def stay(self) -> None:
        if self.timer:
            self.timer.cancel()
        self.timer, self.expires_at = None, math.inf


class Lease:
    """The right to use a loaded model: until it is released, the model is not evicted.

    `url` is the child's address without a path, `api_key` its bearer token, `context_tokens` what one
    request's prompt and answer may take together.
    """

    def __init__(self, loaded: Loaded, released: Callable[[Loaded], None]) -> None:
        assert loaded.child
        assert loaded.sizing
        self.acquired_s = time.perf_counter()
        self.model = loaded.file
        self.url = loaded.child.url
        self.api_key = loaded.child.api_key
        self.context_tokens = loaded.sizing.context_tokens
        self.warnings = loaded.sizing.warnings
        self._child = loaded.child
        self._loaded = loaded
        self._released: Callable[[Loaded], None] | None = released

    def release(self) -> None:
        """Give it back. Doing so twice is doing it once."""
        released, self._released = self._released, None
        if released:
            released(self._loaded)

    async def cause_of_death(self, *, wait_s: float = 1.0) -> str:
        """Why the model's process ended, or "" if it still runs; for when a connection to it broke."""
        try:
            async with asyncio.timeout(wait_s):
                return await self._child.cause()
        except TimeoutError:
            return ""
