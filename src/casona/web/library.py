"""`/library`: collections, documents, their pages, and searching in them.

Every key may read; adding under a path of one's own choice and removing need an admin key
(docs/decisions/020-who-may-change-the-library.md). Imported late, as all routes of FastAPI are.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from casona.exchange.errors import BadRequest, Forbidden, NotFound
from casona.exchange.keys import Key
from casona.library.client import LibraryClient
from casona.reading import LONGEST_QUESTION
from casona.records.library import DocumentRecord
from casona.web.asgi import new_request_id
from casona.web.incoming import Intake, checked_collection, checked_source

Caller = Callable[[Request], Key]
"""Who sent this request. Raises Unauthorized."""
Near = Callable[[Key, str | None], Awaitable[None]]
"""Raises Forbidden when a collection's embedder (or any, for None) is further away than the key may go."""


class Taken(BaseModel):
    """What became of a file. `reason` is empty: a refusal is an error that says why."""

    model_config = ConfigDict(from_attributes=True)

    path: str
    outcome: Literal["stored", "unchanged", "updated"]
    document: str
    reason: str


class Collection(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    documents: int
    passages: int
    embedder: str


class Collections(BaseModel):
    collections: list[Collection]


class Document(BaseModel):
    """`source` is the path or name it came under, `hash` the SHA-256 of its bytes; times are unix seconds.

    `notes` tell what of the file could not be read.
    """

    model_config = ConfigDict(from_attributes=True)

    id: str
    collection: str
    source: str
    title: str
    media_type: str
    language: str
    hash: str
    size_bytes: int
    pages: int
    passages: int
    notes: list[str]
    added: float
    updated: float


class Documents(BaseModel):
    """By collection and source. `after` goes into the next request; None when these were the last."""

    documents: list[Document]
    after: str | None


class Page(BaseModel):
    """Page `number` of `pages`, from 1. A citation's offsets are code points of `text`."""

    model_config = ConfigDict(from_attributes=True)

    document_id: str
    number: int
    pages: int
    text: str


class Passage(BaseModel):
    """`content` is characters `start` to `end` of the page's text."""

    model_config = ConfigDict(from_attributes=True)

    content: str
    source: str
    page: int
    start: int
    end: int
    score: float
    document: str = Field(validation_alias="document_id")
    collection: str
    heading: list[str]
    language: str


class Hits(BaseModel):
    """The best first."""

    hits: list[Passage]


class Status(BaseModel):
    """`asleep`: the library's process does not run and starts when it is needed; nothing is counted then."""

    model_config = ConfigDict(from_attributes=True)

    state: Literal["asleep", "awake"]
    memory_bytes: int
    documents: int
    passages: int
    collections: list[str]


class Listing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    collection: str | None = None
    source: str | None = Field(None, description="Only the documents with exactly this source.")
    limit: int = Field(100, ge=1, le=1000)
    after: str | None = None


class Placing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: str
    collection: str | None = None


class Searching(BaseModel):
    model_config = ConfigDict(extra="forbid")

    q: str = Field(max_length=LONGEST_QUESTION)
    collection: str | None = None
    limit: int = Field(10, ge=1, le=50)


def library_router(intake: Intake, near: Near, caller: Caller) -> APIRouter:
    """The routes over one library."""

    async def reader(request: Request, response: Response) -> Key:
        response.headers["x-request-id"] = new_request_id()
        return caller(request)

    async def writer(key: Annotated[Key, Depends(reader)]) -> Key:
        if not key.admin:
            raise Forbidden("changing the library needs an admin key; /rag/upload takes files with any key")
        return key

    router = APIRouter(prefix="/library", dependencies=[Depends(reader)], tags=["library"])
    _add_reading(router, intake.library)
    _add_searching(router, intake.library, near, reader)
    _add_writing(router, intake, near, writer)
    return router


def _add_reading(router: APIRouter, library: LibraryClient) -> None:
    @router.get("/status")
    async def status() -> Status:
        """Whether the library's process runs, and what it holds. Wakes nobody."""
        return Status.model_validate(await library.status())

    @router.get("/collections")
    async def collections() -> Collections:
        """All collections by name."""
        found = await library.collections()
        return Collections(collections=[Collection.model_validate(one) for one in found])

    @router.get("/documents")
    async def documents(wanted: Annotated[Listing, Query()]) -> Documents:
        """The documents of one collection or all, some at a time."""
        found = await library.documents(wanted.collection)
        if wanted.collection is not None and not found:
            raise NotFound(f"there is no collection {wanted.collection!r}", param="collection")
        return _some(found, wanted)

    @router.get("/documents/{document_id}")
    async def document(document_id: str) -> Document:
        return Document.model_validate(await library.document(document_id))

    @router.get("/documents/{document_id}/pages/{number}")
    async def page(document_id: str, number: int) -> Page:
        """The text of one page; that of a format without pages is page 1."""
        return Page.model_validate(await library.page(document_id, number))


def _add_searching(router: APIRouter, library: LibraryClient, near: Near, reader: Any) -> None:
    @router.get("/search")
    async def search(wanted: Annotated[Searching, Query()], key: Annotated[Key, Depends(reader)]) -> Hits:
        """The passages that fit the words or the question `q` best."""
        if not wanted.q.strip():
            raise BadRequest("q: must not be empty", param="q")
        await near(key, wanted.collection)
        found = await library.retrieve(wanted.q, collection=wanted.collection, limit=wanted.limit)
        return Hits(hits=[Passage.model_validate(hit) for hit in found])


def _add_writing(router: APIRouter, intake: Intake, near: Near, writer: Any) -> None:
    async def put(
        request: Request, wanted: Annotated[Placing, Query()], key: Annotated[Key, Depends(writer)]
    ) -> Taken:
        """Add the body, as it is, as what `source` holds now. A refusal is a 400 with the reason."""
        source, collection = checked_source(wanted.source), checked_collection(wanted.collection)
        await near(key, collection)
        async with intake.incoming.draft() as draft:
            async for piece in request.stream():
                await draft.write(piece)
            return Taken.model_validate(await intake.take(draft, source=source, collection=collection))

    router.add_api_route("/documents", put, methods=["PUT"], openapi_extra=_RAW)
    router.add_api_route("/documents", put, methods=["POST"], openapi_extra=_RAW)

    @router.delete("/documents/{document_id}", dependencies=[Depends(writer)])
    async def remove(document_id: str) -> Document:
        """Remove a document, and everything that only it needed, from the disk too."""
        return Document.model_validate(await intake.library.remove(document_id))


def _some(found: Sequence[DocumentRecord], wanted: Listing) -> Documents:
    after = ("", "") if wanted.after is None else _place(wanted.after)
    left = sorted(
        (
            one
            for one in found
            if (one.collection, one.source) > after and wanted.source in {None, one.source}
        ),
        key=lambda one: (one.collection, one.source),
    )
    shown = left[: wanted.limit]
    more = _cursor(shown[-1]) if len(left) > len(shown) else None
    return Documents(documents=[Document.model_validate(one) for one in shown], after=more)


def _cursor(last: DocumentRecord) -> str:
    """Where the next page begins, whether that document is still there by then or not."""
    return base64.urlsafe_b64encode(msgspec.json.encode((last.collection, last.source))).decode()


def _place(cursor: str) -> tuple[str, str]:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as fault:
        raise BadRequest(
            "after: is not what an earlier page gave; leave it out to begin anew", param="after"
        ) from fault


_RAW: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
