"""The embedded llama.cpp: which models are loaded, who uses them, what makes room for what.

One child process for each loaded model. Read `design.md` first.
"""

import asyncio
import logging
import math
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from casona.engine import machine
from casona.engine.backend import survey
from casona.engine.keep_alive import keep_alive_s
from casona.engine.launch import launch, trial
from casona.engine.listing import EngineModel, listed
from casona.engine.loaded import Lease, Loaded
from casona.engine.manifest import names
from casona.engine.plan import Extras, Planner
from casona.engine.process import Child, ChildFailed
from casona.engine.room import Room
from casona.engine.shelf import ModelFile, Shelf
from casona.engine.sizing import SMALLEST_CONTEXT, Sizing, TooBig
from casona.exchange.errors import BadRequest, CasonaError, ModelNotFound, NodeFailed, NoNodeReady
from casona.settings import Engine as EngineSettings

FAILURE_KEPT_S = 30.0  # a model that does not load is not tried again for each request
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    digest: str
    reason: str
    until_s: float


class Engine:
    """Everything is called on one event loop. `start` may be left out where only `trial` is needed."""

    def __init__(self, settings: EngineSettings, shelf: Shelf, *, home_dir: Path) -> None:
        self._settings = settings
        self._shelf = shelf
        self._home_dir = home_dir
        self._current: dict[str, Loaded] = {}
        self._room = Room(self._retire, evict_wait_s=settings.evict_wait_s)
        self._failures: dict[str, _Failure] = {}
        self._sizings: dict[str, Sizing | str] = {}
        self._planning: asyncio.Task[Planner] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Begin to look at the machine and to load the models of `engine.warm`; waits for neither."""
        self._background(self._planner())
        if self._settings.warm:
            self._background(self._warm_all())

    async def stop(self) -> None:
        """End every child. None is left when this returns, which takes a few seconds at most."""
        self._stopping = True
        tasks = [*self._tasks, *([self._planning] if self._planning else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.child.stop() for one in self._room.held if one.child))

    async def acquire(self, name: str, *, keep_alive: str | None = None) -> Lease:
        """Lease the model of this name, loading it first if need be. Release the lease after use.

        `keep_alive` says how long it stays loaded afterwards, as in Ollama; it holds until another
        request says otherwise. Raises ModelNotFound; BadRequest for a broken file; NoNodeReady when
        the load outlasts `load_wait_s` (it goes on); NodeFailed when it can't be loaded.
        """
        return await self._acquire(name, keep_alive, wait_s=self._settings.load_wait_s)

    async def warm(self, name: str) -> None:
        """Load a model, however long that takes. Raises as `acquire` does."""
        (await self._acquire(name, None, wait_s=math.inf)).release()

    def unload(self, name: str) -> bool:
        """Let a loaded model go as soon as nobody uses it. False if it is not loaded."""
        found = [self._current[one] for one in names(name) if one in self._current]
        if not found or found[0].state != "ready":
            return False
        self._retire(found[0])
        return True

    def models(self) -> tuple[EngineModel, ...]:
        """Every model on the shelf, broken ones too, by name."""
        return tuple(self._listed(file) for file in self._shelf.scan())

    async def describe(self) -> tuple[str, ...]:
        """Lines for the start: where each model runs, what is wrong with it, which GPU is not used."""
        planner = await self._planner()
        lines = [f"warning: {warning}" for warning in planner.backend.warnings]
        await asyncio.to_thread(self._shelf.scan)  # it may read many headers, and remembers them
        for model in self.models():
            fine = f"{model.name} on {planner.where(model.device)}, context {model.context_tokens} tokens"
            lines.append(f"{model.name} cannot be served: it {model.broken}" if model.broken else fine)
        return tuple(lines)

    async def trial(self, path: Path, mmproj: Path | None = None) -> str:
        """Why the model in this file (the first, of several) does not work, or "".

        It is loaded and answers one token. Raises NoNodeReady when no memory came free to try it in.
        """
        small = self._settings.model_copy(update={"context": SMALLEST_CONTEXT, "parallel": 1})
        planner = (await self._planner()).with_settings(small)
        return await trial(path, mmproj, planner, self._room)

    # Leases

    async def _acquire(self, name: str, keep_alive: str | None, *, wait_s: float) -> Lease:
        kept_s = keep_alive_s(keep_alive) if keep_alive else None
        file = await asyncio.to_thread(self._shelf.find, name)
        if file is None or file.broken:
            self.unload(name)  # it was loaded from a file that has gone since
        if file is None:
            raise ModelNotFound(f"the engine has no model {name!r}", param="model")
        if file.broken:
            raise BadRequest(f"the model {name!r} cannot be served: it {file.broken}", param="model")
        until_s = time.monotonic() + wait_s
        while not (loaded := self._loaded(file)).serves:
            await self._wait(loaded, until_s)
        if kept_s is not None:
            loaded.keep_alive_s = kept_s
        loaded.users += 1
        loaded.stay()
        return Lease(loaded, self._released)

    async def _wait(self, loaded: Loaded, until_s: float) -> None:
        assert loaded.job
        left_s = max(0, until_s - time.monotonic())
        loaded.waiters += 1
        self._room.changed()  # for one that somebody waits for, more is done
        try:
            await asyncio.wait({loaded.job}, timeout=None if math.isinf(left_s) else left_s)
        finally:
            loaded.waiters -= 1
            self._rest(loaded)
        if not loaded.job.done():
            raise _still_loading(loaded)
        if loaded.fault:
            raise _unloadable(loaded.name, loaded.fault)

    def _released(self, loaded: Loaded) -> None:
        loaded.users -= 1
        self._rest(loaded)

    def _rest(self, loaded: Loaded) -> None:
        """When nobody uses it any more, it goes at once or its time begins to run."""
        if loaded.busy:
            return
        loaded.idle_since_s = time.monotonic()
        if loaded.state == "draining" and loaded.child:
            self._background(loaded.child.stop())
        elif loaded.state == "ready":
            loaded.expire_after(loaded.keep_alive_s, partial(self._retire, loaded))
        self._room.changed()

    # Loading and leaving

    def _loaded(self, file: ModelFile) -> Loaded:
        """The model, ready or about to be; a load is begun unless there is one."""
        if self._stopping:
            raise NoNodeReady("the server is stopping")
        loaded = self._current.get(file.name)
        if loaded and loaded.state == "loading":
            return loaded
        if loaded and loaded.serves and loaded.file.digest == file.digest:
            return loaded
        if loaded:  # its process died this moment, or its file was replaced
            self._retire(loaded)
        failure = self._failures.get(file.name)
        if failure and failure.digest == file.digest and time.monotonic() < failure.until_s:
            raise _unloadable(file.name, failure.reason)
        loaded = Loaded(file=file, keep_alive_s=keep_alive_s(self._settings.keep_alive))
        self._current[file.name] = loaded
        loaded.job = self._background(self._load(loaded))
        return loaded

    async def _load(self, loaded: Loaded) -> None:
        """The job of one load. Whoever waits for it may leave; it goes on."""
        try:
            planner = await self._planner()
            extras = await asyncio.to_thread(planner.extras, loaded.file)
            await launch(loaded, planner, extras, self._room)
            assert loaded.child
            loaded.state = "ready"
            loaded.child.ended.add_done_callback(lambda _: self._ended(loaded))
            _log.info("%s is loaded on %s", loaded.name, planner.where())
            self._rest(loaded)
        except (TooBig, ChildFailed) as error:
            loaded.fault = str(error) if isinstance(error, TooBig) else f"did not load: {error}"
            until_s = time.monotonic() + FAILURE_KEPT_S
            self._failures[loaded.name] = _Failure(loaded.file.digest, loaded.fault, until_s)
            _log.error("%s %s", loaded.name, loaded.fault)
        except Exception as error:  # noqa: BLE001 - the edge of a task nobody else looks at
            loaded.fault = f"did not load, by a fault of ours: {error!r}"
            _log.exception("%s was not loaded", loaded.name)
        finally:
            if loaded.state != "ready":
                self._gone(loaded)

    def _retire(self, loaded: Loaded) -> None:
        """It admits nobody any more, and ends when its last user has gone."""
        loaded.stay()
        self._forget(loaded)
        if loaded.state == "ready":
            loaded.state = "draining"
            self._rest(loaded)

    def _ended(self, loaded: Loaded) -> None:
        if loaded.state == "ready" and not self._stopping and loaded.child:
            self._background(_tell_cause(loaded.name, loaded.child))
        self._gone(loaded)

    def _gone(self, loaded: Loaded) -> None:
        loaded.state = "gone"
        loaded.stay()
        self._forget(loaded)
        self._room.leave(loaded)

    def _forget(self, loaded: Loaded) -> None:
        if self._current.get(loaded.name) is loaded:
            del self._current[loaded.name]

    async def _warm_all(self) -> None:
        for name in self._settings.warm:
            try:
                await self.warm(name)
            except CasonaError as error:
                _log.error("engine.warm: %s", error)

    # The machine

    async def _planner(self) -> Planner:
        """Ask the machine and the engines once; whoever comes meanwhile waits for the same answer."""
        if self._planning is None or _failed(self._planning):
            self._planning = asyncio.create_task(self._plan_for_machine())
        return await asyncio.shield(self._planning)

    async def _plan_for_machine(self) -> Planner:
        found = await asyncio.to_thread(machine.look)
        backend = await survey(self._settings, found, self._home_dir)
        return Planner(self._settings, found, backend, self._home_dir)

    def _listed(self, file: ModelFile) -> EngineModel:
        planning = self._planning
        planner = planning.result() if planning and planning.done() and not _failed(planning) else None
        broken, sizing = file.broken, None
        if planner and not broken:
            if file.digest not in self._sizings:
                self._sizings[file.digest] = _sized(planner, file)
            known = self._sizings[file.digest]
            broken, sizing = (known, None) if isinstance(known, str) else ("", known)
        failure = self._failures.get(file.name)
        if failure and failure.digest == file.digest and time.monotonic() < failure.until_s:
            broken = broken or failure.reason
        loaded = self._current.get(file.name) or self._draining(file.name)
        device = planner.backend.name if planner else "cpu"
        return listed(file, loaded, sizing, broken=broken, device=device)

    def _draining(self, name: str) -> Loaded | None:
        return next((one for one in self._room.held if one.name == name), None)

    def _background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _sized(planner: Planner, file: ModelFile) -> Sizing | str:
    try:
        return planner.size(file, Extras())
    except TooBig as error:
        return str(error)


def _still_loading(loaded: Loaded) -> NoNodeReady:
    progress = loaded.progress()
    if loaded.child is None and loaded.sizing:
        return NoNodeReady(
            f"the model {loaded.name!r} waits for memory that other models use", retry_after_s=5
        )
    told = f", about {progress:.0%} of it is in memory" if progress else ""
    spent_s = time.monotonic() - loaded.begun_s
    left_s = spent_s * (1 - progress) / progress if progress and progress > 0.05 else 5.0
    return NoNodeReady(
        f"the model {loaded.name!r} is loading{told}", retry_after_s=round(min(max(left_s, 1), 60))
    )


def _unloadable(name: str, reason: str) -> NodeFailed:
    return NodeFailed(f"the model {name!r} cannot be served: it {reason}", param="model")


async def _tell_cause(name: str, child: Child) -> None:
    _log.error("%s: %s", name, await child.cause())
