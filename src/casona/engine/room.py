"""The memory that all models share: who holds some, who waits for some, in the order they came."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from casona.engine.evict import Drain, Evict, Fits, decide
from casona.engine.loaded import Loaded

_log = logging.getLogger(__name__)


class Room:
    """`retire` is told which models are to leave; they call `leave` when they have."""

    def __init__(self, retire: Callable[[Loaded], None], *, evict_wait_s: float) -> None:
        self.held: set[Loaded] = set()
        self._retire = retire
        self._evict_wait_s = evict_wait_s
        self._queue: list[Loaded] = []
        self._change = asyncio.Event()

    async def take(self, loaded: Loaded, budget_bytes: int) -> None:
        """Return when its memory is there and its own. First come, first served, but a small one
        may pass where there is room for it already."""
        begun_s = time.monotonic()
        self._queue.append(loaded)
        try:
            while True:
                change = self._change
                left_s = begun_s + self._evict_wait_s - time.monotonic()
                if self._step(loaded, budget_bytes, may_drain=left_s <= 0 and loaded.waiters > 0):
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s if left_s > 0 else None):
                        await change.wait()
        finally:
            self._queue.remove(loaded)
            self.changed()

    def leave(self, loaded: Loaded) -> None:
        self.held.discard(loaded)
        self.changed()

    def changed(self) -> None:
        """A model became idle, or has gone: those who wait look again."""
        self._change.set()
        self._change = asyncio.Event()

    def _step(self, loaded: Loaded, budget_bytes: int, *, may_drain: bool) -> bool:
        assert loaded.sizing
        occupants = [one.occupant() for one in self.held]
        decision = decide(loaded.sizing.memory_bytes, budget_bytes, occupants, may_drain=may_drain)
        first = self._queue[0] is loaded
        if isinstance(decision, Fits) and (first or all(one.state != "draining" for one in occupants)):
            self.held.add(loaded)
            return True
        leaving = decision.ids if isinstance(decision, Evict) else ()
        if isinstance(decision, Drain):
            leaving = (decision.id,)
        for one in [one for one in self.held if first and one.id in leaving]:
            _log.info("%s makes room for %s", one.name, loaded.name)
            self._retire(one)
        return False
