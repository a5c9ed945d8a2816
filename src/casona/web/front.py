"""The small routes: models, health, readiness, the root probe."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from casona.exchange.errors import ModelNotFound
from casona.exchange.keys import Key
from casona.exchange.zones import Zone
from casona.policy.zones import strictest
from casona.routing.catalog import Catalog, Entry
from casona.web.asgi import JSON, Receive, Scope, Send, header, send_whole

Identify = Callable[[Scope], Key]
Describe = Callable[[], dict[str, Any]]


async def send_json(send: Send, value: Any, status: int = 200) -> None:
    await send_whole(send, status, [(b"content-type", JSON)], msgspec.json.encode(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoutes:
    """`/v1/models`: what this key may ask for, on all nodes."""

    catalog: Catalog
    identify: Identify
    max_zone: Zone

    async def listed(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self.identify(scope)
        data = [_model(entry) for entry in self._allowed(key)]
        await send_json(send, {"object": "list", "data": data, "models": []})  # Codex wants `models`

    async def one(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self.identify(scope)
        name: str = scope["casona.rest"]
        key.require_model(name)
        places = await self.catalog.places(name)
        shown = [entry for entry in self._allowed(key) if entry.places == places]
        if not shown:
            raise ModelNotFound(f"the model {name!r} does not exist", param="model")
        await send_json(send, _model(shown[0]) | {"id": name})

    def _allowed(self, key: Key) -> list[Entry]:
        zone = strictest(self.max_zone, key.max_zone)
        return [
            entry
            for entry in self.catalog.entries
            if key.allows_model(entry.name)
            and any(place.zone.distance <= zone.distance for place in entry.places)
        ]


def _model(entry: Entry) -> dict[str, Any]:
    nodes = sorted({place.state.name for place in entry.places})
    return {"id": entry.name, "object": "model", "created": entry.created, "owned_by": ", ".join(nodes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRoutes:
    """`/health` tells everything to this machine and to keys, the status alone to strangers."""

    describe: Describe
    identify: Identify

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = self.describe()
        await send_json(send, state if self._is_trusted(scope) else {"status": state["status"]})

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, {"status": "ready"})

    async def root(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the probe by which Ollama's clients find a server."""
        await send_whole(send, 200, [(b"content-type", b"text/plain; charset=utf-8")], b"Ollama is running")

    def _is_trusted(self, scope: Scope) -> bool:
        if header(scope, b"authorization") or header(scope, b"x-api-key"):
            self.identify(scope)
            return True
        client = scope.get("client")
        return client is None or client[0] in {"127.0.0.1", "::1", ""}
