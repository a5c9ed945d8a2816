"""The only place where objects are built and joined."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from casona.dialects import openai_embeddings
from casona.dialects.openai_chat import OpenAIChat
from casona.embedding import Embedding
from casona.engine import machine
from casona.engine.engine import Engine
from casona.engine.hub.hubs import connect
from casona.engine.node import NAME as ENGINE
from casona.engine.node import EngineNode
from casona.engine.pulls import Pulls
from casona.engine.shelf import Shelf
from casona.exchange.errors import CasonaError
from casona.exchange.keys import Key
from casona.exchange.zones import Zone
from casona.home import Home
from casona.house import House, close_nodes, describe, go_on_with_documents, keep_looking, load
from casona.library.client import LibraryClient
from casona.library.hit import Hit
from casona.nodes import ollama, openai
from casona.nodes.base import Node
from casona.policy.keys import Keyring
from casona.policy.zones import zone_of_host
from casona.records.database import open_database
from casona.records.keys import KeyBook, ensure_admin_key
from casona.records.usage import Ledger
from casona.routing.catalog import Catalog
from casona.serve import Desk
from casona.settings import Node as NodeSettings
from casona.settings import NodeKind, Settings, Timeouts
from casona.web.app import FrontDoor
from casona.web.asgi import App
from casona.web.chat import ChatDoor
from casona.web.front import HealthRoutes, ModelRoutes

if TYPE_CHECKING:
    from fastapi import Request

log = logging.getLogger(__name__)

Connect = Callable[[NodeSettings, Zone, Timeouts], Node]
CONNECT: dict[NodeKind, Connect] = {NodeKind.OLLAMA: ollama.connect}
"""How to connect to a kind of node; every other kind is OpenAI-compatible."""


@contextmanager
def opened(home: Home, settings: Settings, what: str) -> Iterator[House]:
    """A house with its lock held and its records open; nothing runs yet. Raises CasonaError."""
    with ExitStack() as stack:
        stack.enter_context(home.lock(what))
        home.models_dir.mkdir(exist_ok=True)
        home.library_dir.mkdir(mode=0o700, exist_ok=True)
        database = open_database(settings.database, home.path)
        stack.callback(database.close)
        new_admin_key = ensure_admin_key(database, home)
        keys = KeyBook(database)
        ledger = Ledger(database, home.journal_path)
        stack.callback(ledger.close)
        shelf = Shelf(home.models_dir)
        engine = Engine(settings.engine, shelf, home_dir=home.path) if settings.engine.enabled else None
        catalog = Catalog(_nodes(settings, engine), settings.models)
        desk = Desk(catalog=catalog, record=ledger.record, max_zone=settings.privacy.max_zone)
        embedding = Embedding(desk, _digests(shelf), configured=settings.library.embedder)
        yield House(
            home=home,
            settings=settings,
            database=database,
            keys=keys,
            keyring=Keyring(keys.active),
            ledger=ledger,
            shelf=shelf,
            engine=engine,
            pulls=_pulls(settings, shelf, engine),
            catalog=catalog,
            desk=desk,
            embedding=embedding,
            library=LibraryClient(home.path, settings, embedding.embed),
            instance=secrets.token_hex(16),
            new_admin_key=new_admin_key,
        )


class OnFirstNeed:
    """Something built once, in a thread, when it is first asked for."""

    def __init__(self, build: Callable[[], App]) -> None:
        self._build = build
        self._built: App | None = None
        self._building = asyncio.Lock()

    async def __call__(self) -> App:
        async with self._building:
            if self._built is None:
                self._built = await asyncio.to_thread(self._build)
        return self._built


@asynccontextmanager
async def at_work(house: House) -> AsyncIterator[App]:
    """The house at work: its engine and nodes joined, its front door ready to be listened at."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(close_nodes, house.catalog)
        if house.engine is not None:
            stack.push_async_callback(house.engine.stop)
            await house.engine.start()
        stack.push_async_callback(house.library.close)
        stack.push_async_callback(house.pulls.stop)
        for work in (keep_looking(house), house.pulls.sweep(), go_on_with_documents(house)):
            task = asyncio.create_task(work)
            task.add_done_callback(_tell_fault)
            stack.callback(task.cancel)
        yield front_door(house)


def _tell_fault(task: "asyncio.Task[None]") -> None:
    """Nobody awaits the work in the background, so its fault is told here."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("work in the background ended: %s", fault, exc_info=fault)


def front_door(house: House) -> FrontDoor:
    """Every route of the house."""
    settings = house.settings
    dialect, limit = OpenAIChat(), settings.server.max_body_bytes
    chat = ChatDoor(partial(house.desk.chat, dialect=dialect), dialect, house.identify, max_body_bytes=limit)
    embeddings = ChatDoor(
        house.desk.embed, dialect, house.identify, max_body_bytes=limit, route=openai_embeddings.NAME
    )
    models = ModelRoutes(catalog=house.catalog, identify=house.identify, max_zone=settings.privacy.max_zone)
    health = HealthRoutes(describe=lambda: describe(house), identify=house.identify)
    exact: dict[tuple[str, str], App] = {
        ("GET", "/v1/models"): models.listed,
        ("GET", "/health"): health.health,
        ("GET", "/ready"): health.ready,
        ("GET", "/"): health.root,
    }

    return FrontDoor(
        {("POST", "/v1/chat/completions"): chat, ("POST", "/v1/embeddings"): embeddings},
        exact,
        {("GET", "/v1/models/"): models.one},
        OnFirstNeed(lambda: rooms(house)),
        identify=house.identify,
        cors_origins=settings.server.cors_origins,
    )


def rooms(house: House) -> App:
    """The administration and the library. FastAPI comes with them, hence the late imports."""
    from casona.reading import ReadingRoom
    from casona.web.admin import admin_router
    from casona.web.incoming import Incoming, Intake
    from casona.web.library import library_router
    from casona.web.models_admin import models_router
    from casona.web.rag import rag_router
    from casona.web.rooms import Rooms
    from casona.web.rooms import rooms as application

    library, settings = house.library, house.settings

    def caller(request: "Request") -> Key:
        return house.identify(request.scope)

    async def retrieve(question: str, collection: str | None, limit: int) -> list[Hit]:
        return await library.retrieve(question, collection=collection, limit=limit)

    intake = Intake(library=library, incoming=Incoming(house.home.library_dir / "incoming"))
    near = partial(house.embedding.require_near, library)
    reading = ReadingRoom(desk=house.desk, retrieve=retrieve, settings=settings.library)
    routers = [
        admin_router(house.database, house.keyring, house.ledger, caller),
        models_router(house.pulls, partial(load, house), caller),
        library_router(intake, near, caller),
        rag_router(reading, intake, near, caller, num_results=settings.library.num_results),
    ]
    limits = settings.server
    return Rooms(
        application(routers),
        max_body_bytes=limits.max_body_bytes,
        max_upload_bytes=limits.max_upload_bytes,
    )


def _digests(shelf: Shelf) -> Callable[[str, str], str]:
    """How the weights of an embedding model are told apart: for the engine's own models by their digest."""

    def digest_of(node: str, model: str) -> str:
        found = shelf.find(model) if node == ENGINE else None
        return found.digest if found else ""

    return digest_of


def _pulls(settings: Settings, shelf: Shelf, engine: Engine | None) -> Pulls:
    hubs = settings.hubs
    token = hubs.huggingface_token.get_secret_value() if hubs.huggingface_token else ""
    connected = connect(
        ollama_url=hubs.ollama_url, huggingface_url=hubs.huggingface_url, huggingface_token=token
    )
    if engine is None:
        return Pulls(shelf, connected)

    async def trial(path: Path, mmproj: Path | None) -> str:
        return await engine.trial(path, mmproj=mmproj)

    room = settings.engine.memory_bytes or machine.usable_bytes()
    return Pulls(shelf, connected, trial=trial, unload=engine.unload, memory_bytes=room)


def _nodes(settings: Settings, engine: Engine | None) -> list[Node]:
    nodes: list[Node] = [EngineNode(engine, settings.timeouts)] if engine is not None else []
    return nodes + [_node(node, settings) for node in settings.nodes]


def _node(node: NodeSettings, settings: Settings) -> Node:
    zone = node.zone or zone_of_host(urlsplit(node.url).hostname or "")
    try:
        return CONNECT.get(node.kind, openai.connect)(node, zone, settings.timeouts)
    except (ValueError, OSError) as fault:  # a key that no header can hold, a ca_file that is none
        raise CasonaError(f"nodes: {node.name}: {fault}") from fault
