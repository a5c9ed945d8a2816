"""`/rag/query` and `/rag/upload`: questions about documents, and documents to ask about.

Imported late, as all routes of FastAPI are.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from casona.dialects import body, openai_answer
from casona.exchange.errors import BadRequest, CasonaError, Forbidden
from casona.library.hit import Hit
from casona.reading import Answered, Found, Piece, Question, ReadingEvent, ReadingRoom
from casona.tally import Call
from casona.web.asgi import new_request_id
from casona.web.incoming import DEFAULT_COLLECTION, Intake, checked_collection, checked_name
from casona.web.library import Caller, Near, Taken
from casona.web.multipart import read_form

PING_S = 10.0
PING = b": ping\n\n"
UNEXPECTED = "something went wrong in the house; its log says what"

log = logging.getLogger(__name__)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. No `model` is the house's choice, no `collection` is all of them."""

    question: Annotated[str, msgspec.Meta(min_length=1)]
    model: str | None = None
    num_results: Annotated[int, msgspec.Meta(ge=1, le=50)] | None = None
    collection: str | None = None
    stream: bool | None = None
    mode: Literal["auto", "extracts"] | None = None


_query = msgspec.json.Decoder(Query)


class Source(BaseModel):
    """A passage: `content` is characters `start` to `end` of the page's text; `page` counts from 1.

    [n] in an answer is the n-th source. GET /library/documents/{document}/pages/{page} gives the page.
    """

    content: str
    source: str
    page: int
    start: int
    end: int
    score: float
    document: str


class Answer(BaseModel):
    """`model` is None where there is none; then the answer is made of quotes (`extracts`)."""

    answer: str
    sources: list[Source]
    model: str | None
    mode: Literal["generated", "extracts"]


class EventStream(StreamingResponse):
    """Server-sent events with pings between them; the generator is closed however it ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        super().__init__(events, headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        self.events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A client that hangs up has this task cancelled by the front door."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        pinging = asyncio.create_task(_ping(send))
        try:
            async with aclosing(self.events) as events:
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        finally:
            pinging.cancel()
        await send({"type": "http.response.body", "body": b""})


def rag_router(
    room: ReadingRoom, intake: Intake, near: Near, caller: Caller, *, num_results: int
) -> APIRouter:
    """Both routes, for every key."""
    router = APIRouter(prefix="/rag", tags=["questions about documents"])

    @router.post("/query", response_model=Answer, openapi_extra=_asks())
    async def query(request: Request) -> JSONResponse | EventStream:
        """Answer a question from the documents, citing them: as one object, or streamed as events."""
        key = caller(request)
        asked = _asked(await request.body())
        await near(key, asked.collection)
        call = Call(new_request_id(), key, "rag.query", b"")
        headers = {"x-request-id": call.id}
        events = room.ask(call, _question(asked, num_results))
        if asked.stream:
            return EventStream(_streamed(await anext(events), events), headers)
        return JSONResponse((await _whole(events)).model_dump(), headers=headers)

    @router.post("/upload", openapi_extra=_UPLOADS)
    async def upload(request: Request) -> Taken:
        """Add a document under its file's name. A refusal is a 400 with the reason."""
        key = caller(request)
        async with intake.incoming.draft() as draft:
            pieces = request.stream()
            content_type = request.headers.get("content-type", "")
            form = await read_form(content_type, pieces, draft, known=["collection"])
            collection = checked_collection(form.fields.get("collection") or None)
            if not key.admin and collection != DEFAULT_COLLECTION:
                raise Forbidden(
                    f"this key may add documents to the collection {DEFAULT_COLLECTION!r} only; "
                    "others need an admin key",
                    param="collection",
                )
            source = checked_name(form.file_name or "")
            await near(key, collection)
            return Taken.model_validate(await intake.take(draft, source=source, collection=collection))

    return router


def _asked(raw: bytes) -> Query:
    """Raises BadRequest, which names the field at fault."""
    known = msgspec.structs.fields(Query)
    names = [field.name for field in known]
    for name in body.fields(raw):
        if name not in names:
            raise BadRequest(f"{name}: there is no such field; there are {', '.join(names)}", param=name)
    return body.decode(_query, raw)


def _question(asked: Query, num_results: int) -> Question:
    return Question(
        text=asked.question,
        model=asked.model or "",
        collection=asked.collection,
        limit=asked.num_results or num_results,
        extracts_only=asked.mode == "extracts",
    )


async def _whole(events: AsyncGenerator[ReadingEvent, None]) -> Answer:
    found = Found(hits=(), model="", mode="extracts")
    text = ""
    async with aclosing(events):
        async for event in events:
            match event:
                case Found():
                    found = event
                case Answered():
                    text = event.text
    return Answer(answer=text, sources=sources(found.hits), model=found.model or None, mode=found.mode)


async def _streamed(
    first: ReadingEvent, rest: AsyncGenerator[ReadingEvent, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        try:
            yield _event(first)
            async for event in rest:
                yield _event(event)
        except CasonaError as error:
            yield _data(openai_answer.error_body(error))
        except Exception:  # the status is spent, so this edge is here
            log.exception("an answer broke in its stream")
            yield _data(openai_answer.error_body(CasonaError(UNEXPECTED)))


def _event(event: ReadingEvent) -> bytes:
    match event:
        case Found(hits=hits, model=model, mode=mode):
            told = [source.model_dump() for source in sources(hits)]
            return _data({"sources": told, "model": model or None, "mode": mode})
        case Piece(text=text):
            return _data({"delta": text})
        case Answered(text=text, cited=cited):
            return _data({"answer": text, "cited": list(cited), "done": True})


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


async def _ping(send: Send) -> None:
    """Silence looks like a dead server to some clients and proxies; a model may take minutes to load."""
    while True:
        await asyncio.sleep(PING_S)
        await send({"type": "http.response.body", "body": PING, "more_body": True})


def sources(hits: Sequence[Hit]) -> list[Source]:
    return [
        Source(
            content=hit.content,
            source=hit.source,
            page=hit.page,
            start=hit.start,
            end=hit.end,
            score=hit.score,
            document=hit.document_id,
        )
        for hit in hits
    ]


def _asks() -> dict[str, Any]:
    """How the description of the API shows the body, which is read here and not by FastAPI."""
    _, components = msgspec.json.schema_components([Query])
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": components["Query"]}}}
    }


_UPLOADS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "collection": {"type": "string", "default": DEFAULT_COLLECTION},
                    },
                }
            }
        },
    }
}
