"""Whose memory a model that is to be loaded may have. Pure decisions: no clock, no process, no log."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["loading", "ready", "draining"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """A model that holds memory. `idle_since_s` is on any clock that goes forward.

    `kept` models were asked to stay for ever (keep_alive -1): they go when no other idle one can.
    """

    id: int
    memory_bytes: int
    state: State
    busy: int = 0
    idle_since_s: float = 0.0
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Fits:
    """There is room now."""


@dataclass(frozen=True, slots=True)
class Evict:
    """These idle models go, and their memory is enough together with what is already leaving."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """This busy model admits no more requests, ends those it has, and goes."""

    id: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something changes."""


Decision = Fits | Evict | Drain | Wait


def decide(need_bytes: int, budget_bytes: int, occupants: Sequence[Occupant], *, may_drain: bool) -> Decision:
    """How `need_bytes` come free of the budget.

    Only an idle model is evicted, the one idle longest first; a loading one never, a busy one only by
    draining it, and only when `may_drain` (it has been waited for long enough).
    """
    missing = need_bytes - (budget_bytes - _sum(occupants))
    if missing <= 0:
        return Fits()
    missing -= _sum(one for one in occupants if one.state == "draining")
    if missing <= 0:
        return Wait()
    idle = [one for one in occupants if one.state == "ready" and not one.busy]
    if _sum(idle) >= missing:
        return Evict(tuple(one.id for one in _fewest(idle, missing)))
    busy = [one for one in occupants if one.state == "ready" and one.busy]
    if may_drain and busy:
        return Drain(min(busy, key=lambda one: (one.busy, one.kept, one.idle_since_s)).id)
    return Wait()


def _fewest(idle: Iterable[Occupant], missing: int) -> list[Occupant]:
    """The longest idle ones that give enough, without those that the later ones make needless."""
    taken: list[Occupant] = []
    for one in sorted(idle, key=lambda one: (one.kept, one.idle_since_s)):
        if _sum(taken) < missing:
            taken.append(one)
    for one in reversed(taken):
        if _sum(taken) - one.memory_bytes >= missing:
            taken.remove(one)
    return taken


def _sum(occupants: Iterable[Occupant]) -> int:
    return sum(one.memory_bytes for one in occupants)
