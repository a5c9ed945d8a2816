"""One house, open, and what it can be asked as a whole. `wiring.py` builds it."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from casona import __version__
from casona.embedding import Embedding
from casona.engine import machine, recommend
from casona.engine.engine import Engine
from casona.engine.node import EngineNode
from casona.engine.pulls import Pulls
from casona.engine.shelf import Shelf
from casona.exchange.keys import Key
from casona.exchange.request import ChatRequest, Output, TextPart, Turn
from casona.home import Home
from casona.library.client import LibraryClient
from casona.nodes.discovery import discover
from casona.policy.keys import Keyring
from casona.records.database import Database
from casona.records.documents import Documents
from casona.records.keys import KeyBook
from casona.records.usage import Ledger
from casona.routing.catalog import Catalog, Entry
from casona.serve import Desk
from casona.settings import Settings
from casona.web.asgi import Scope

LOOK_S = 1.0

log = logging.getLogger(__name__)

Ask = Callable[[str], bool]
Advise = Callable[[str, Callable[[Ask], str]], None]
"""Gets the line that says which model to pull, and what to call with a way to ask the person: it gives
the name of the model to pull now, or ""."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One house, open: everything a process needs to serve it."""

    home: Home
    settings: Settings
    database: Database
    keys: KeyBook
    keyring: Keyring
    ledger: Ledger
    shelf: Shelf
    engine: Engine | None
    pulls: Pulls
    catalog: Catalog
    desk: Desk
    embedding: Embedding
    library: LibraryClient
    instance: str
    new_admin_key: str | None

    def identify(self, scope: Scope) -> Key:
        """The key of a request. Raises Unauthorized."""
        authorization = x_api_key = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                x_api_key = value
        return self.keyring.identify(authorization, x_api_key)


def describe(house: House) -> dict[str, Any]:
    """What `/health` says."""
    catalog = house.catalog
    names = [entry.name for entry in catalog.entries]
    nodes = {state.name: state.trouble or "connected" for state in catalog.states}
    troubled = any(state.trouble for state in catalog.states)
    return {
        "status": "degraded" if troubled else "healthy",
        "model": next((entry.name for entry in catalog.entries if _chats(entry)), None),
        "models": names,
        "vectorstore": house.settings.library.store,
        "nodes": nodes,
        "instance": house.instance,
    }


def _chats(entry: Entry) -> bool:
    return any(not place.abilities or "chat" in place.abilities for place in entry.places)


async def load(house: House, name: str) -> None:
    """Have a model loaded on its node, however long that takes. Raises CasonaError."""
    await house.catalog.refresh()
    place = (await house.catalog.places(name))[0]
    if isinstance(place.node, EngineNode):
        await place.node.engine.warm(place.model)
        return
    word = Turn(role="user", parts=(TextPart(text="hi"),))
    asked = ChatRequest(model=place.model, turns=(word,), output=Output(max_tokens=1))
    async with aclosing(place.node.chat(asked)) as events:
        async for _ in events:
            pass


async def go_on_with_documents(house: House) -> None:
    """Wake the library when files were under way as the last process ended."""
    if await asyncio.to_thread(Documents(house.database).arrivals):
        await house.library.wake()


async def close_nodes(catalog: Catalog) -> None:
    for state in catalog.states:
        await state.node.close()


async def keep_looking(house: House) -> None:
    """Take in an Ollama server of this machine, and ask the nodes now and then what they have."""
    settings = house.settings
    if settings.discovery.ollama:
        taken = {state.name for state in house.catalog.states}
        urls = [node.url for node in settings.nodes]
        found = await discover(settings.timeouts, names=taken, urls=urls)
        if found is not None:
            log.info("found an Ollama server on this machine; it is the node %r", found.name)
            house.catalog.add(found)
    while True:
        await house.catalog.refresh()
        await asyncio.sleep(house.settings.discovery.refresh_s)


async def greet_owner(house: House, url: str, greet: Callable[[str], None], advise: Advise) -> None:
    """Say where the house is, with which key, and what its models run on."""
    looking = asyncio.ensure_future(house.catalog.refresh())
    await asyncio.wait({looking}, timeout=LOOK_S)  # so that models are there at once; nodes may take longer
    greet(f"Casona {__version__} is ready at {url}")
    if house.new_admin_key:
        greet(f"admin key: {house.new_admin_key}  (shown this once; kept in {house.home.admin_key_path})")
    else:
        greet(f"admin key: in {house.home.admin_key_path}")
    await looking
    if house.engine is not None:
        for line in await house.engine.describe():
            greet(line)
    if not house.catalog.entries:
        memory_bytes = await asyncio.to_thread(machine.usable_bytes)
        line, offer = recommend.first_start_advice(memory_bytes), partial(recommend.offer, memory_bytes)
        threading.Thread(target=advise, args=(line, offer), name="advice", daemon=True).start()
