"""The catalog: which names clients may ask for, and which places serve them.

Rebuilt as a whole whenever a node's list changes, so that a look-up is one dictionary access.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from casona.exchange.errors import CasonaError, ModelNotFound, NodeFailed, NoNodeReady
from casona.nodes.base import Node, NodeModel
from casona.routing.place import NodeState, Place
from casona.settings import Model as ModelSettings

LATEST = ":latest"
LOOK_AGAIN_S = 2.0
LIST_S = 5.0
"""A node that takes longer to tell what it has is troubled; models are listed in milliseconds."""
MOMENT_S = 0.5
"""What a list may wait for nodes: all that answer at once are in it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name of the catalog."""

    name: str
    places: tuple[Place, ...]

    @property
    def created(self) -> int:
        """Seconds since 1970, 0 when no node says."""
        return max(place.created for place in self.places)


class Catalog:
    """Names and places. `names` are the settings' own names for models on nodes."""

    def __init__(self, nodes: Iterable[Node], names: Mapping[str, ModelSettings]) -> None:
        self.states = [NodeState(node) for node in nodes]
        self._names = names
        self._entries: dict[str, Entry] = {}
        self._places: dict[str, tuple[Place, ...]] = {}
        self._looked_at_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    @property
    def entries(self) -> Sequence[Entry]:
        """What clients are shown, by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def state(self, node: str) -> NodeState | None:
        return next((state for state in self.states if state.name == node), None)

    def add(self, node: Node) -> None:
        self.states.append(NodeState(node))

    def known(self, model: str) -> tuple[Place, ...] | None:
        """The places for a name at once, without asking any node."""
        return self._places.get(model)

    async def places(self, model: str) -> tuple[Place, ...]:
        """The places for a name; asks the nodes anew when it is not known. Raises ModelNotFound."""
        found = self._places.get(model)
        if found is None:
            if self._is_old():
                await self.refresh(resting=False)
            found = self._places.get(model) or self._places.get(model + LATEST)
        if found is None:
            raise self._not_found(model)
        return found

    async def recent(self) -> Sequence[Entry]:
        """The entries, looked at anew unless that was just done; slow nodes are not waited for."""
        if self._is_old():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.refresh(resting=False), MOMENT_S)
        return self.entries

    async def refresh(self, *, resting: bool = True) -> None:
        """Ask the nodes what they have, `resting` says whether also those that rest after a failure.

        One look at a time; a caller who leaves doesn't end it.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look(resting))
        await asyncio.shield(self._looking)

    def _is_old(self) -> bool:
        return asyncio.get_running_loop().time() - self._looked_at_s > LOOK_AGAIN_S

    async def _look(self, resting: bool) -> None:
        loop = asyncio.get_running_loop()
        asked = [state for state in self.states if resting or state.rests_until_s <= loop.time()]
        await asyncio.gather(*map(self._ask, asked))
        self._looked_at_s = loop.time()
        self._rebuild()

    async def _ask(self, state: NodeState) -> None:
        trouble = ""
        try:
            async with asyncio.timeout(LIST_S):
                models = await state.node.models()
        except TimeoutError:
            trouble = f"node {state.name!r} did not tell its models within {LIST_S:g} s"
        except CasonaError as fault:
            trouble = fault.fact if isinstance(fault, NodeFailed) else str(fault)
        except Exception:  # one node's surprise must not end the looking at all the others
            log.exception("node %s could not be asked", state.name)
            trouble = f"node {state.name!r} could not be asked; the log says why"
        if trouble:
            if state.trouble != trouble:
                log.warning("node %s: %s", state.name, trouble)
            state.failed(trouble, asyncio.get_running_loop().time())
            return
        if state.failures:
            log.info("node %s is back", state.name)
        state.answered()
        if state.models != models:
            state.models = models
            self._rebuild()  # the others may take their time

    def _rebuild(self) -> None:
        entries: dict[str, list[Place]] = {}
        places: dict[str, tuple[Place, ...]] = {}
        for state in self.states:
            for model in state.models:
                place = _place(state, model)
                places[f"{model.name}@{state.name}"] = (place,)
                if not model.broken:
                    entries.setdefault(model.name, []).append(place)
        for name, settings in self._names.items():
            entries[name] = self._named(settings, places)
        self._entries = {
            name: Entry(name=name, places=tuple(found)) for name, found in entries.items() if found
        }
        places |= {name: entry.places for name, entry in self._entries.items()}
        self._places = _with_short_names(places)

    def _named(self, settings: ModelSettings, places: Mapping[str, tuple[Place, ...]]) -> list[Place]:
        found: list[Place] = []
        for tier, names in enumerate([settings.serve, *([name] for name in settings.fallback)]):
            for name in names:
                for place in places.get(name) or places.get(_with_latest(name)) or self._unlisted(name):
                    found.append(replace(place, tier=tier))
        return found

    def _unlisted(self, name: str) -> tuple[Place, ...]:
        """A place the settings name on a node that can't be asked now: it may be back by then."""
        model, _, node = name.rpartition("@")
        state = self.state(node)
        if state is None or not model or state.models:
            return ()
        return (_place(state, NodeModel(name=model, zone=state.node.zone_of(model))),)

    def _not_found(self, model: str) -> CasonaError:
        asked = {model, model.removesuffix(LATEST), model + LATEST}
        for state in self.states:
            for found in state.models:
                if found.broken and found.name in asked:
                    return ModelNotFound(
                        f"the model {model!r} can't be served: it {found.broken}", param="model"
                    )
        lost = [state for state in self.states if state.trouble and not state.models]
        names = ", ".join(entry.name for entry in self.entries[:8])
        if not names and lost:
            return NoNodeReady(f"no node can be reached to ask for {model!r}: {lost[0].trouble}")
        there = f"there are: {names}" if names else "there is none yet; `casona pull` gets one"
        return ModelNotFound(f"the model {model!r} does not exist; {there}", param="model")


def _place(state: NodeState, model: NodeModel) -> Place:
    return Place(
        state=state,
        model=model.name,
        zone=model.zone,
        abilities=model.abilities,
        context_tokens=model.context_tokens,
        created=model.created,
        zone_name=model.zone.value.encode(),
    )


def _with_latest(name: str) -> str:
    model, at, node = name.rpartition("@")
    return f"{model}{LATEST}{at}{node}" if at else name + LATEST


def _with_short_names(places: Mapping[str, tuple[Place, ...]]) -> dict[str, tuple[Place, ...]]:
    """`x` equals `x:latest`, also before an `@node`; exact names win."""
    full = dict(places)
    for name, found in places.items():
        model, at, node = name.rpartition("@") if "@" in name else (name, "", "")
        if model.endswith(LATEST):
            full.setdefault(f"{model.removesuffix(LATEST)}{at}{node}", found)
        elif ":" not in model.rpartition("/")[2]:
            full.setdefault(f"{model}{LATEST}{at}{node}", found)
    return full
