"""The routes of administration for models: pull, list, show, update, remove, load. For admin keys only.

Imported late: FastAPI costs memory and start-up time that chatting does not need.

Pulls and loads stream one JSON object a line, in Ollama's words, and end with {"status": "success"}
or {"error": {"message": …}}. Hanging up stops a pull when nobody else follows it.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from casona.engine import machine, recommend
from casona.engine.job import Event, Job
from casona.engine.manifest import Manifest, Version
from casona.engine.pulls import Pulls
from casona.engine.shelf import ModelFile
from casona.exchange.errors import CasonaError, Forbidden, ModelNotFound
from casona.exchange.keys import Key

Caller = Callable[[Request], Key]
"""Who sent this request. Raises Unauthorized."""
Load = Callable[[str], Awaitable[None]]
"""Loads a model on its node, however long that takes. Raises ModelNotFound and other CasonaErrors."""

STILL_THERE_S = 10.0
ENGINE = "@engine"


class Name(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=300)


class Listed(BaseModel):
    """A model on this machine's disk. `origin` is "file" or where it was pulled from; `modified` in unix
    seconds; `context_tokens` is what it was trained for. `broken` is why it cannot be served, or ""."""

    name: str
    size_bytes: int
    modified: float
    digest: str
    origin: str
    architecture: str = ""
    parameters: int = 0
    quantisation: str = ""
    context_tokens: int = 0
    embeds: bool = False
    vision: bool = False
    broken: str = ""


class Models(BaseModel):
    models: list[Listed]


class Earlier(BaseModel):
    """A version kept from before an update."""

    digest: str
    size_bytes: int
    pulled: float
    quantisation: str


class Shown(Listed):
    """`template` is the chat template that is used, or Ollama's where the file has none."""

    license: str = ""
    template: str = ""
    system: str = ""
    parameters_set: dict[str, Any] = {}
    source: str = ""
    files: list[str] = []
    previous: list[Earlier] = []


class Suggested(BaseModel):
    """A well-known model. `needs_bytes` is what it takes in memory with its cache."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    quantisation: str
    file_bytes: int
    needs_bytes: int
    fits: bool
    note: str


class Recommendations(BaseModel):
    """`recommended` is the best that fits this machine, None where none does."""

    memory_bytes: int
    recommended: str | None
    models: list[Suggested]


class Removed(BaseModel):
    name: str
    freed_bytes: int


def models_router(pulls: Pulls, load: Load, caller: Caller) -> APIRouter:
    """`/admin/models…` and `/admin/recommendations`."""

    def admin(request: Request) -> None:
        if not caller(request).admin:
            raise Forbidden("this needs an admin key")

    router = APIRouter(prefix="/admin", dependencies=[Depends(admin)], tags=["models"])
    router.add_api_route("/recommendations", _recommendations, methods=["GET"])
    _add_streams(router, pulls, load)
    _add_records(router, pulls)
    return router


def _recommendations() -> Recommendations:
    """Which well-known models suit this machine's memory."""
    memory_bytes = machine.usable_bytes()
    best = recommend.best(memory_bytes)
    found = [Suggested.model_validate(one) for one in recommend.recommend(memory_bytes)]
    return Recommendations(memory_bytes=memory_bytes, recommended=best.name if best else None, models=found)


def _add_streams(router: APIRouter, pulls: Pulls, load: Load) -> None:
    @router.post("/models/pull")
    async def pull(wanted: Name) -> StreamingResponse:
        """Fetch a model, or join a pull of it that runs."""
        return _streamed(pulls.start(wanted.name).follow())

    @router.post("/models/update")
    async def update(wanted: Name) -> StreamingResponse:
        """Fetch a pulled model anew if there is a newer one. The old version stays until it is removed."""
        return _streamed((await pulls.update(wanted.name)).follow())

    @router.post("/models/load")
    async def warm(wanted: Name) -> StreamingResponse:
        """Load a model on its node; pull it first where it is missing."""
        return _streamed(_warmed(pulls, load, wanted.name))


def _add_records(router: APIRouter, pulls: Pulls) -> None:
    @router.get("/models")
    async def list_models() -> Models:
        """All models on this machine's disk, by name."""
        return Models(models=[_listed(model) for model in await pulls.list()])

    @router.get("/models/{name:path}")
    async def show_model(name: str) -> Shown:
        """What a model's file and its hub say of it."""
        return _shown(*await pulls.show(name))

    @router.delete("/models/{name:path}")
    async def remove_model(name: str, version: str = "") -> Removed:
        """Remove a model from the disk, or only an earlier version of it."""
        return Removed(name=name, freed_bytes=await pulls.remove(name, version=version))


async def _warmed(pulls: Pulls, load: Load, name: str) -> AsyncGenerator[Event, None]:
    try:
        async for event in _loaded(load, name):
            yield event
        return
    except ModelNotFound:
        if "@" in name.removesuffix(ENGINE):
            raise
    job: Job = pulls.start(name.removesuffix(ENGINE))
    async with aclosing(job.follow()) as events:
        async for event in events:
            if event["status"] != "success":
                yield event
    async for event in _loaded(load, name):
        yield event


async def _loaded(load: Load, name: str) -> AsyncGenerator[Event, None]:
    """A load goes on when nobody waits for it any more: others may, and most of it is done."""
    yield {"status": f"loading {name}"}
    work = asyncio.ensure_future(load(name))
    work.add_done_callback(lambda done: done.cancelled() or done.exception())
    while not (await asyncio.wait({work}, timeout=STILL_THERE_S))[0]:
        yield {"status": f"loading {name}"}
    work.result()
    yield {"status": "success"}


def _streamed(events: AsyncGenerator[Event, None]) -> StreamingResponse:
    return StreamingResponse(_lines(events), media_type="application/x-ndjson")


async def _lines(events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        try:
            async for event in events:
                yield _line(event)
        except CasonaError as error:
            told = {"message": str(error), "code": error.code, "param": error.param, "status": error.status}
            yield _line({"error": told})


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


def _listed(model: ModelFile) -> Listed:
    known = {
        "name": model.name,
        "size_bytes": model.size_bytes,
        "modified": model.modified_s,
        "digest": model.digest,
        "origin": model.origin,
        "vision": model.mmproj is not None,
        "broken": model.broken,
    }
    if model.header is None:
        return Listed(**known)
    return Listed(
        **known,
        architecture=model.header.architecture,
        parameters=model.header.parameters,
        quantisation=model.header.file_type,
        context_tokens=model.header.context_tokens,
        embeds=model.header.is_embedder,
    )


def _shown(model: ModelFile, manifest: Manifest | None) -> Shown:
    listed = _listed(model).model_dump()
    own = model.header
    version = manifest.current if manifest else None
    return Shown(
        **listed,
        license=(version.license if version else "") or (own.license if own else ""),
        template=(own.chat_template if own else "") or model.template,
        system=version.system if version else "",
        parameters_set=version.parameters if version else {},
        source=version.source if version else "",
        files=[str(path) for path in (*model.files, *([model.mmproj] if model.mmproj else []))],
        previous=[_earlier(one) for one in (manifest.previous if manifest else ())],
    )


def _earlier(version: Version) -> Earlier:
    return Earlier(
        digest=version.digest,
        size_bytes=version.size_bytes,
        pulled=version.pulled_at_s,
        quantisation=version.quantisation,
    )
