"""The rooms behind the front door: administration and library, as one FastAPI application.

Imported on first need: it costs memory and start-up time that chatting does not.
"""

import logging
from collections.abc import MutableMapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from casona import __version__
from casona.dialects import openai_answer
from casona.exchange.errors import BadRequest, CasonaError, NotFound, TooLarge
from casona.web.asgi import JSON, Receive, Scope, Send, header, new_request_id, read_body

log = logging.getLogger(__name__)

UPLOADS = ("/rag/upload", "/library/")


class Rooms:
    """The application with its bodies bounded: uploads by one limit, everything else by another."""

    def __init__(self, app: FastAPI, *, max_body_bytes: int, max_upload_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        if str(scope["path"]).startswith(UPLOADS):
            receive = self._bounded(scope, receive)
        else:
            named = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
            scope["headers"] = [*named, (b"content-type", JSON)]  # all bodies here are; few clients say so
            receive = _replayed(await read_body(scope, receive, limit_bytes=self.max_body_bytes), receive)
        try:
            await self.app(scope, receive, noted)
        except CasonaError:
            raise
        except Exception:  # told and logged by `_unexpected`; Starlette raises it again all the same
            if not begun:
                raise

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """An upload goes to disk as it comes; it is stopped where it gets too large."""
        declared = header(scope, b"content-length")
        if declared.isdigit() and int(declared) > self.max_upload_bytes:
            raise self._too_large()
        read_bytes = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > self.max_upload_bytes:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than the limit of {self.max_upload_bytes} bytes (server.max_upload_bytes)"
        )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, as if it were still to come."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return replayed


def rooms(routers: Sequence[APIRouter]) -> FastAPI:
    """One application of all routers; every error in OpenAI's shape. Its own description is at /docs."""
    app = FastAPI(
        title="Casona",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        strict_content_type=False,
    )
    for router in routers:
        app.include_router(router)
    for path in ("/docs", "/openapi.json"):
        app.add_api_route(path, lambda: JSONResponse(app.openapi()), include_in_schema=False)
    app.add_exception_handler(CasonaError, _told)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _answer(error: CasonaError) -> JSONResponse:
    headers = {"x-request-id": new_request_id(), **openai_answer.error_headers(error)}
    return JSONResponse(openai_answer.error_body(error), error.status, headers)


async def _told(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, CasonaError)
    return _answer(fault)


async def _misfit(_request: Request, fault: Exception) -> JSONResponse:
    """FastAPI's 422 as our 400 that names the field."""
    assert isinstance(fault, RequestValidationError)
    first = fault.errors()[0]
    where = ".".join(str(step) for step in first["loc"] if step not in {"body", "query", "path"}) or "body"
    words = str(first["msg"])
    return _answer(BadRequest(f"{where}: {words[:1].lower()}{words[1:]}", param=where))


async def _http(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)
    error = NotFound(str(fault.detail)) if fault.status_code == 404 else BadRequest(str(fault.detail))
    error.status = fault.status_code
    return _answer(error)


async def _unexpected(request: Request, fault: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=fault)
    return _answer(CasonaError("something went wrong in the house; its log says what"))
