"""The only place where objects are built and joined."""

import asyncio
import logging
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
import uvloop
from pydantic import SecretStr

from casona import __version__
from casona.configuration import Configuration, read
from casona.dialects import openai_embeddings
from casona.dialects.openai_chat import OpenAIChat
from casona.embedding import Embedding
from casona.engine import machine, recommend
from casona.engine.engine import Engine
from casona.engine.hub.hubs import connect
from casona.engine.node import NAME as ENGINE
from casona.engine.node import EngineNode
from casona.engine.pulls import Pulls
from casona.engine.shelf import Shelf
from casona.exchange.errors import CasonaError
from casona.exchange.keys import Key
from casona.exchange.request import ChatRequest, Output, TextPart, Turn
from casona.exchange.zones import Zone
from casona.home import Home
from casona.library.client import LibraryClient
from casona.library.hit import Hit
from casona.nodes import ollama, openai
from casona.nodes.base import Node
from casona.nodes.discovery import discover
from casona.policy.keys import Keyring
from casona.policy.zones import zone_of_host
from casona.records.database import Database, open_database
from casona.records.keys import KeyBook, ensure_admin_key
from casona.records.usage import Ledger
from casona.routing.catalog import Catalog, Entry
from casona.serve import Desk
from casona.settings import Node as NodeSettings
from casona.settings import NodeKind, Settings, Timeouts
from casona.web.app import FrontDoor
from casona.web.asgi import App, Scope
from casona.web.chat import ChatDoor
from casona.web.front import HealthRoutes, ModelRoutes
from casona.web.server import bind, server, url_of

if TYPE_CHECKING:
    from fastapi import Request

log = logging.getLogger(__name__)

Ask = Callable[[str], bool]
Advise = Callable[[str, Callable[[Ask], str]], None]
"""Gets the line that says which model to pull, and what to call with a way to ask the person: it gives
the name of the model to pull now, or ""."""
Connect = Callable[[NodeSettings, Zone, Timeouts], Node]
CONNECT: dict[NodeKind, Connect] = {NodeKind.OLLAMA: ollama.connect}
"""How to connect to a kind of node; every other kind is OpenAI-compatible."""


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


@contextmanager
def opened(home: Home, settings: Settings, what: str) -> Iterator[House]:
    """A house with its lock held and its records open; nothing runs yet. Raises CasonaError."""
    with ExitStack() as stack:
        stack.enter_context(home.lock(what))
        home.models_dir.mkdir(exist_ok=True)
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
async def running(house: House) -> AsyncIterator[App]:
    """The house at work: its engine and nodes joined, its front door ready to be listened at."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_close_nodes, house.catalog)
        if house.engine is not None:
            stack.push_async_callback(house.engine.stop)
            await house.engine.start()
        stack.push_async_callback(house.library.close)
        stack.push_async_callback(house.pulls.stop)
        for work in (_keep_looking(house), house.pulls.sweep()):
            stack.callback(asyncio.create_task(work).cancel)
        yield front_door(house)


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
        ("HEAD", "/"): health.root,
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


def _nodes(settings: Settings, engine: Engine | None) -> list[Node]:
    nodes: list[Node] = [EngineNode(engine, settings.timeouts)] if engine is not None else []
    return nodes + [_node(node, settings) for node in settings.nodes]


def _node(node: NodeSettings, settings: Settings) -> Node:
    zone = node.zone or zone_of_host(urlsplit(node.url).hostname or "")
    try:
        return CONNECT.get(node.kind, openai.connect)(node, zone, settings.timeouts)
    except (ValueError, OSError) as fault:  # a key that no header can hold, a ca_file that is none
        raise CasonaError(f"nodes: {node.name}: {fault}") from fault


async def _close_nodes(catalog: Catalog) -> None:
    for state in catalog.states:
        await state.node.close()


async def _keep_looking(house: House) -> None:
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


@dataclass(frozen=True, slots=True)
class Temporary:
    """A house open for one command: where it listens, and an admin key that ends with it."""

    url: str
    api_key: str


@contextmanager
def temporary_house(home: Home, environ: Mapping[str, str]) -> Iterator[Temporary]:
    """Run a house inside this process, on a free loopback port, for as long as the context lasts."""
    settings = configuration(home, environ).settings
    quiet = settings.log.model_copy(update={"level": "warning"})  # a command's own words are enough
    with opened(home, settings.model_copy(update={"log": quiet}), "a command") as house:
        listening = bind("127.0.0.1", 0)
        url = url_of(listening)
        runner = Background(house, listening)
        with home.announced(url, house.instance), runner:
            yield Temporary(url, house.keyring.lend())


class Background:
    """A house at work in a thread of its own, for as long as the context lasts."""

    def __init__(self, house: House, listening: socket.socket) -> None:
        self._house = house
        self._listening = listening
        self._ready = threading.Event()
        self._server: uvicorn.Server | None = None
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="house", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._fault is not None:
            raise self._fault

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        try:
            uvloop.run(self._serve())
        except BaseException as fault:  # noqa: BLE001 - told in the thread that waits for it
            self._fault = fault
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        async with running(self._house) as app:
            await self._house.catalog.refresh()
            self._server = server(app, self._house.settings.server)
            self._ready.set()
            await self._server.serve(sockets=[self._listening])


async def serve(house: House, listening: socket.socket, greet: Callable[[str], None], advise: Advise) -> None:
    """Run a house until it is told to stop.

    `greet` gets each line of what its owner should know; `advise` is called, in a thread of its own,
    when there is no model yet.
    """
    async with running(house) as app:
        running_server = server(app, house.settings.server)
        greeting = asyncio.create_task(_greet(house, url_of(listening), greet, advise))
        await running_server.serve(sockets=[listening])
        greeting.cancel()


async def _greet(house: House, url: str, greet: Callable[[str], None], advise: Advise) -> None:
    """Say where the house is, with which key, and what its models run on."""
    greet(f"Casona {__version__} is ready at {url}")
    if house.new_admin_key:
        greet(f"admin key: {house.new_admin_key}  (shown this once; kept in {house.home.admin_key_path})")
    else:
        greet(f"admin key: in {house.home.admin_key_path}")
    await house.catalog.refresh()
    if house.engine is not None:
        for line in await house.engine.describe():
            greet(line)
    if not house.catalog.entries:
        memory_bytes = await asyncio.to_thread(machine.usable_bytes)
        line, offer = recommend.first_start_advice(memory_bytes), partial(recommend.offer, memory_bytes)
        threading.Thread(target=advise, args=(line, offer), name="advice", daemon=True).start()


def configuration(home: Home, environ: Mapping[str, str]) -> Configuration:
    """The settings of a house. Raises ConfigurationError."""
    home.create()
    found = read(home.path, environ)
    token = environ.get("HF_TOKEN")
    if token and found.settings.hubs.huggingface_token is None:
        hubs = found.settings.hubs.model_copy(update={"huggingface_token": SecretStr(token)})
        found = replace(found, settings=found.settings.model_copy(update={"hubs": hubs}))
    return found
