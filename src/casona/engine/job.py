"""A pull under way: told as Ollama tells it, to as many as want to follow.

Events are Ollama's own (https://github.com/ollama/ollama/blob/main/docs/api.md#pull-a-model):
{"status": "pulling manifest"}
{"status": "pulling 6a0746a1ec1a", "digest": "sha256:6a07…", "total": 4661211808, "completed": 2048}
{"status": "success"}
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Any

from casona.engine.hub.offer import Item
from casona.engine.hub.web import Cancel

Event = dict[str, Any]
TELL_EVERY_S = 0.1


class Job:
    """Runs whether or not somebody follows, but stops when the last one who followed has left."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cancel = Cancel()
        self._told: list[Event] = []
        self._completed: dict[str, int] = {}
        self._followers = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Future[None] | None = None

    def run(self, work: Awaitable[None]) -> None:
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(self._ended)

    @property
    def done(self) -> bool:
        return self._task is not None and self._task.done()

    def tell(self, status: str) -> None:
        self._told.append({"status": status})
        self._changed.set()

    def begin(self, item: Item) -> None:
        """Announce a file. Its progress is then told by `progress`, from any thread."""
        event = {
            "status": f"pulling {item.digest[:12]}",
            "digest": f"sha256:{item.digest}",
            "total": item.size_bytes,
        }
        self._told.append(event)
        self._changed.set()

    def progress(self, item: Item, completed_bytes: int) -> None:
        self._completed[f"sha256:{item.digest}"] = completed_bytes

    async def follow(self) -> AsyncGenerator[Event, None]:
        """Everything told so far, then what comes. Ends with the job; raises the error it ended with.

        Closing it is leaving; when nobody is left, the job stops.
        """
        self._followers += 1
        try:
            place, shown = 0, -1
            while not self.done or place < len(self._told):
                for event in self._told[place:]:
                    yield self._with_progress(event)
                place = len(self._told)
                current = self._with_progress(self._told[-1]) if self._told else {}
                if current.get("completed", shown) != shown:
                    shown = current["completed"]
                    yield current
                await self._change()
        finally:
            self._followers -= 1
            if not self._followers and not self.done:
                self.cancel()
        assert self._task
        self._task.result()

    async def wait(self) -> None:
        """Until it is done; raises the error it ended with. Counts as following."""
        async for _ in self.follow():
            pass

    async def stop(self) -> None:
        """End it, and return when nothing of it runs any more."""
        self.cancel()
        if self._task:
            await asyncio.wait({self._task})

    async def _change(self) -> None:
        if not self.done:
            try:
                async with asyncio.timeout(TELL_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                return
        self._changed.clear()

    def _with_progress(self, event: Event) -> Event:
        if "digest" not in event:
            return event
        return {**event, "completed": self._completed.get(event["digest"], 0)}

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._changed.set()
        if not task.cancelled():
            task.exception()  # seen: who follows gets it, nobody else needs to
