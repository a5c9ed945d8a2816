"""What one setting says about another: names that lead nowhere, entries that no request can reach."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from casona.configuration.places import Draft, Path, Problem
from casona.configuration.schema import nearest
from casona.exchange.zones import Zone
from casona.policy.zones import zone_of_host
from casona.settings import Settings

ENGINE = "engine"
DISCOVERED = "ollama"  # the name that a server found on this machine gets


def check(settings: Settings, draft: Draft) -> Iterator[Problem]:
    """Everything that makes the settings contradict themselves."""
    yield from _names(settings, draft)
    for path, model_at_node in _places_to_run(settings):
        if complaint := _unknown(model_at_node, settings):
            yield draft.problem(path, complaint)
    library = settings.library
    if library.overlap_chars >= library.passage_chars:
        yield draft.problem(
            ("library", "overlap_chars"),
            f"must be less than library.passage_chars, {library.passage_chars}; is {library.overlap_chars}",
        )


def unreachable(settings: Settings, draft: Draft) -> Iterator[Problem]:
    """Entries that nothing can ever use: no fault, but hardly what their owner meant."""
    limit = settings.privacy.max_zone
    zones = {
        node.name: node.zone or zone_of_host(urlsplit(node.url).hostname or "") for node in settings.nodes
    }
    for path, model_at_node in _places_to_run(settings):
        zone = zones.get(_node(model_at_node))
        if zone and zone.distance > limit.distance:
            yield draft.problem(path, _too_far(model_at_node, zone, limit))
    used = {_node(entry) for _, entry in _places_to_run(settings)}
    for index, node in enumerate(settings.nodes):
        if node.name not in used and zones[node.name].distance > limit.distance:
            yield draft.problem(("nodes", index), _too_far(node.name, zones[node.name], limit))
    yield from _repeated(settings, draft)
    if settings.engine.warm and not settings.engine.enabled:
        yield draft.problem(("engine", "warm"), "no model is loaded at start: engine.enabled is false")


def _too_far(name: str, zone: Zone, limit: Zone) -> str:
    return f"{name} can never be reached: it is {zone} and privacy.max_zone is {limit}"


def _names(settings: Settings, draft: Draft) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, node in enumerate(settings.nodes):
        path: Path = ("nodes", index, "name")
        if node.name == ENGINE:
            yield draft.problem(path, f"{ENGINE} is the built-in engine; choose another name")
        elif node.name in first:
            yield draft.problem(path, f"{node.name} is already the name of nodes[{first[node.name]}]")
        first.setdefault(node.name, index)


def _places_to_run(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Every `model@node` of the settings, with its path."""
    for name, model in settings.models.items():
        for side in ("serve", "fallback"):
            for index, entry in enumerate(getattr(model, side)):
                yield ("models", name, side, index), entry
    if settings.library.embedder != "builtin":
        yield ("library", "embedder"), settings.library.embedder


def _unknown(model_at_node: str, settings: Settings) -> str:
    """Why a `model@node` leads nowhere, or ""."""
    model, _, node = model_at_node.rpartition("@")
    names = {entry.name for entry in settings.nodes} | {ENGINE}
    if not model or not node:
        return f"names no node; write it as model@node, such as {model_at_node.strip('@')}@engine"
    if node == ENGINE and not settings.engine.enabled:
        return f"{model_at_node} cannot run: engine.enabled is false"
    if node in names or (node == DISCOVERED and settings.discovery.ollama):
        return ""
    guess = nearest(node, names)
    return f"no node is called {node}; " + (
        f"did you mean {model}@{guess}?" if guess else f"there are {', '.join(sorted(names))}"
    )


def _repeated(settings: Settings, draft: Draft) -> Iterator[Problem]:
    for name, model in settings.models.items():
        seen = set(model.serve)
        for index, entry in enumerate(model.fallback):
            if entry in seen:
                message = f"{entry} can never be reached: it is tried before"
                yield draft.problem(("models", name, "fallback", index), message)
            seen.add(entry)


def _node(model_at_node: str) -> str:
    return model_at_node.rpartition("@")[2]
