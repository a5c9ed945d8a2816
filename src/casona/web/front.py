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
from casona.web.asgi import JSON, Receive, Scope, Send, header, new_request_id, send_whole

Identify = Callable[[Scope], Key]
Describe = Callable[[], dict[str, Any]]


async def send_json(send: Send, value: Any, status: int = 200) -> None:
    headers = [(b"content-type", JSON), (b"x-request-id", new_request_id().encode())]
    await send_whole(send, status, headers, msgspec.json.encode(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoutes:
    """`/v1/models`: what this key may ask for, on all nodes."""

    catalog: Catalog
    identify: Identify
    max_zone: Zone

    async def listed(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self.identify(scope)
        await self.catalog.recent()
        data = [_model(entry) for entry in self._allowed(key)]
        await send_json(send, {"object": "list", "data": data, "models": []})  # Codex wants `models`

    async def one(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self.identify(scope)
        name: str = scope["casona.rest"]
        key.require_model(name)
        entry = Entry(name=name, places=await self.catalog.places(name))
        if not self._is_near(entry, key):
            raise ModelNotFound(f"the model {name!r} does not exist", param="model")
        await send_json(send, _model(entry))

    def _allowed(self, key: Key) -> list[Entry]:
        entries = self.catalog.entries
        return [entry for entry in entries if key.allows_model(entry.name) and self._is_near(entry, key)]

    def _is_near(self, entry: Entry, key: Key) -> bool:
        zone = strictest(self.max_zone, key.max_zone)
        return any(place.zone.distance <= zone.distance for place in entry.places)


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
        if header(scope, b"x-forwarded-for") or header(scope, b"forwarded"):
            return False  # a proxy on this machine speaks for somebody else
        client = scope.get("client")
        return client is None or client[0] in {"127.0.0.1", "::1", ""}
