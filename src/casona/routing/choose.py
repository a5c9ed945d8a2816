"""Which places may serve a request, and in which order they are tried. Pure: no clock, no log."""

from collections.abc import Sequence

from casona.exchange.errors import BadRequest, Forbidden
from casona.exchange.zones import Zone
from casona.nodes.base import Ability
from casona.routing.place import Place


def order(places: Sequence[Place], *, now_s: float) -> Sequence[Place]:
    """Serving places before fallbacks, rested ones before failing ones, then the least busy by name."""
    if len(places) == 1:
        return places

    def rank(place: Place) -> tuple[bool, int, int, str]:
        state = place.state
        return state.rests_until_s > now_s, place.tier, state.in_flight, state.name

    return sorted(places, key=rank)


def within(places: Sequence[Place], zone: Zone, *, model: str) -> Sequence[Place]:
    """The places no further than `zone`. Raises Forbidden when that leaves none."""
    if zone is Zone.CLOUD or (len(places) == 1 and places[0].zone.distance <= zone.distance):
        return places
    near = [place for place in places if place.zone.distance <= zone.distance]
    if not near:
        nearest = min(places, key=lambda place: place.zone.distance).zone
        raise Forbidden(
            f"the model {model!r} runs in the zone {nearest.value!r} and data may travel no further than "
            f"{zone.value!r} here (privacy.max_zone, or the key's own limit)"
        )
    return near


def able(places: Sequence[Place], ability: Ability, *, model: str) -> Sequence[Place]:
    """The places that can do `ability`, or do not say. Raises BadRequest when that leaves none."""
    if len(places) == 1 and (not places[0].abilities or ability in places[0].abilities):
        return places
    fit = [place for place in places if not place.abilities or ability in place.abilities]
    if not fit:
        what = ", ".join(sorted(places[0].abilities))
        raise BadRequest(f"model: {model!r} can't {ability}; it can {what}", param="model")
    return fit
