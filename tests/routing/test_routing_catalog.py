"""Names, places and their order."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from casona.exchange.errors import BadRequest, Forbidden, ModelNotFound, NodeFailed
from casona.exchange.zones import Zone
from casona.nodes.base import Node, NodeModel
from casona.policy.zones import strictest, zone_of_host
from casona.routing import catalog as catalog_module
from casona.routing import choose
from casona.routing.catalog import Catalog
from casona.routing.place import NodeState, Place
from casona.settings import Model


@dataclass
class Listing:
    """A node that only lists; `gone` makes it fail."""

    name: str
    listed: list[NodeModel]
    zone: Zone = Zone.LOCAL
    gone: str = ""
    asked: int = 0
    holds: asyncio.Event | None = None
    fault: Exception | None = None
    relays: frozenset[str] = field(default_factory=frozenset)
    relays_whole: frozenset[str] = field(default_factory=frozenset)

    def zone_of(self, model: str) -> Zone:
        return Zone.CLOUD if model.endswith("-cloud") else self.zone

    async def models(self) -> tuple[NodeModel, ...]:
        self.asked += 1
        if self.holds:
            await self.holds.wait()
        if self.fault:
            raise self.fault
        if self.gone:
            raise NodeFailed(self.gone)
        return tuple(self.listed)


def node(name: str, *models: str, zone: Zone = Zone.LOCAL) -> Listing:
    return Listing(name, [NodeModel(name=model, zone=zone) for model in models], zone)


async def catalog(*nodes: Listing, **names: Model) -> Catalog:
    found = Catalog(nodes, names)  # type: ignore[arg-type]
    await found.refresh()
    return found


def told(places: Sequence[Place]) -> list[str]:
    return [f"{place.model}@{place.state.name}" for place in places]


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ("llama3:8b", ["llama3:8b@a", "llama3:8b@b"]),
        ("llama3:8b@b", ["llama3:8b@b"]),
        ("phi", ["phi:latest@a"]),
        ("phi:latest", ["phi:latest@a"]),
        ("phi@a", ["phi:latest@a"]),
        ("tiny:latest", ["tiny@b"]),
        ("tiny@b", ["tiny@b"]),
        ("odd@name", ["odd@name@b"]),
        ("odd@name@b", ["odd@name@b"]),
    ],
)
async def test_a_name_finds_its_places(asked: str, places: list[str]) -> None:
    found = await catalog(node("a", "llama3:8b", "phi:latest"), node("b", "llama3:8b", "tiny", "odd@name"))
    assert told(await found.places(asked)) == places


async def test_a_name_of_the_settings_has_tiers() -> None:
    names = {"assistant": Model(serve=("m@a", "m@b"), fallback=("n@c",))}
    found = await catalog(node("a", "m"), node("b", "m"), node("c", "n"), **names)
    assert [(place.state.name, place.tier) for place in await found.places("assistant")] == [
        ("a", 0),
        ("b", 0),
        ("c", 1),
    ]
    assert [entry.name for entry in found.entries] == ["assistant", "m", "n"]


async def test_a_name_of_the_settings_on_a_node_that_is_away_keeps_its_models_zone() -> None:
    away = node("box")
    away.gone = "connection refused"
    names = {"near": Model(serve=("m@box",)), "far": Model(serve=("m:120b-cloud@box",))}
    found = await catalog(away, **names)
    assert [(await found.places(name))[0].zone for name in names] == [Zone.LOCAL, Zone.CLOUD]


async def test_an_unknown_name_makes_the_catalog_look_once_and_then_says_what_there_is() -> None:
    listing = node("a", "m")
    found = await catalog(listing)
    found._looked_at_s = float("-inf")
    listing.listed.append(NodeModel(name="new", zone=Zone.LOCAL))
    assert told(await found.places("new")) == ["new@a"]
    with pytest.raises(ModelNotFound, match="'nope' does not exist; there are: m, new"):
        await found.places("nope")
    assert listing.asked == 2


async def test_a_node_that_cannot_be_asked_keeps_what_it_had_and_says_why() -> None:
    listing = node("a", "m")
    found = await catalog(listing)
    listing.gone = "connection refused"
    await found.refresh()
    assert told(await found.places("m")) == ["m@a"]
    assert found.states[0].trouble == "connection refused"
    listing.gone = ""
    await found.refresh()
    assert found.states[0].trouble == ""


async def test_a_broken_model_is_not_listed_and_says_why() -> None:
    listing = Listing("a", [NodeModel(name="bad", zone=Zone.LOCAL, broken="is cut short")])
    found = await catalog(listing)
    assert list(found.entries) == []
    with pytest.raises(ModelNotFound, match="'bad:latest' can't be served: it is cut short"):
        await found.places("bad:latest")


async def test_a_node_that_takes_its_time_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "LIST_S", 0.2)
    monkeypatch.setattr(catalog_module, "MOMENT_S", 0.02)
    slow = node("slow", "n")
    slow.holds = asyncio.Event()
    found = Catalog([slow, node("fast", "m")], {})  # type: ignore[list-item]
    assert [entry.name for entry in await found.recent()] == ["m"]
    await found.refresh()
    assert found.states[0].trouble == "node 'slow' did not tell its models within 0.2 s"
    with pytest.raises(ModelNotFound):
        await found.places("nope")
    assert slow.asked == 1, "a node that rests is not asked for each unknown name"


async def test_a_node_that_surprises_does_not_end_the_looking(caplog: pytest.LogCaptureFixture) -> None:
    odd = node("odd")
    odd.fault = KeyError("id")
    found = await catalog(odd, node("fine", "m"))
    assert [entry.name for entry in found.entries] == ["m"]
    assert found.states[0].trouble == "node 'odd' could not be asked; the log says why"
    assert "KeyError" in caplog.text


async def test_a_list_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "LOOK_AGAIN_S", -1.0)
    listing = node("a", "m")
    found = await catalog(listing)
    listing.listed[:] = [NodeModel(name="new", zone=Zone.LOCAL, created=7)]
    assert [(entry.name, entry.created) for entry in await found.recent()] == [("new", 7)]


def place(name: str, *, tier: int = 0, zone: Zone = Zone.LOCAL, busy: int = 0, rests: float = 0) -> Place:
    listing: Node = node(name)  # type: ignore[assignment]
    state = NodeState(listing, in_flight=busy, rests_until_s=rests)
    return Place(state=state, model="m", zone=zone, tier=tier)


def test_the_least_busy_comes_first_fallbacks_later_failing_ones_last() -> None:
    places = [
        place("resting", rests=50),
        place("busy", busy=3),
        place("fallback", tier=1),
        place("free", busy=1),
        place("also free", busy=1),
    ]
    ordered = choose.order(places, now_s=10)
    assert [one.state.name for one in ordered] == ["also free", "free", "busy", "fallback", "resting"]
    assert choose.order(places, now_s=60)[0].state.name == "resting"


def test_a_zone_is_never_left() -> None:
    places = [place("here"), place("there", zone=Zone.PRIVATE), place("far", zone=Zone.CLOUD)]
    reached = {zone: [one.state.name for one in choose.within(places, zone, model="m")] for zone in Zone}
    assert reached == {
        Zone.LOCAL: ["here"],
        Zone.PRIVATE: ["here", "there"],
        Zone.CLOUD: ["here", "there", "far"],
    }
    with pytest.raises(Forbidden):
        choose.within(places[2:], Zone.PRIVATE, model="m")


def test_an_embedder_does_not_chat() -> None:
    embedder = Place(state=place("a").state, model="m", zone=Zone.LOCAL, abilities=frozenset({"embed"}))
    with pytest.raises(BadRequest, match="'m' can't chat; it can embed"):
        choose.able([embedder], "chat", model="m")


def test_a_failing_node_rests_longer_each_time() -> None:
    state = place("a").state
    rests = []
    for _ in range(7):
        state.failed("gone", 100.0)
        rests.append(state.rests_until_s - 100.0)
    assert rests == [1, 2, 4, 8, 16, 30, 30]
    state.answered()
    assert (state.rests_until_s, state.trouble, state.failures) == (0, "", 0)


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("localhost", Zone.LOCAL),
        ("127.3.2.1", Zone.LOCAL),
        ("::1", Zone.LOCAL),
        ("10.66.66.10", Zone.PRIVATE),
        ("192.168.1.2", Zone.PRIVATE),
        ("fd00::7", Zone.PRIVATE),
        ("fe80::1%eth0", Zone.PRIVATE),
        ("100.100.1.1", Zone.CLOUD),
        ("8.8.8.8", Zone.CLOUD),
        ("0.0.0.0", Zone.CLOUD),
        ("box.lan", Zone.CLOUD),
        ("api.deepseek.com", Zone.CLOUD),
    ],
)
def test_a_node_is_in_the_zone_of_its_address(host: str, zone: Zone) -> None:
    assert zone_of_host(host) is zone


def test_the_strictest_limit_wins() -> None:
    assert strictest(Zone.CLOUD, None, Zone.PRIVATE) is Zone.PRIVATE
    assert strictest(Zone.LOCAL, Zone.CLOUD) is Zone.LOCAL
    assert strictest(Zone.CLOUD, None) is Zone.CLOUD
