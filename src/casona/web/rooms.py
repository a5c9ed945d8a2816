"""The rooms behind the front door: administration and library, as one FastAPI application.

Imported on first need: it costs memory and start-up time that chatting does not.
"""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from casona import __version__
from casona.dialects import openai_answer
from casona.exchange.errors import BadRequest, CasonaError, NotFound, TooLarge
from casona.web.asgi import Receive, Scope, Send, header, new_request_id

log = logging.getLogger(__name__)

UPLOADS = ("/rag/upload", "/library/")


class Rooms:
    """The application with its bodies bounded: uploads by one limit, everything else by another."""

    def __init__(self, app: FastAPI, *, max_body_bytes: int, max_upload_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        uploads = str(scope["path"]).startswith(UPLOADS)
        limit_bytes = self.max_upload_bytes if uploads else self.max_body_bytes
        declared = header(scope, b"content-length")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise _too_large(limit_bytes, uploads=uploads)
        read_bytes = 0

        async def bounded() -> Any:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > limit_bytes:
                raise _too_large(limit_bytes, uploads=uploads)
            return message

        await self.app(scope, bounded, send)


def rooms(routers: Sequence[APIRouter]) -> FastAPI:
    """One application of all routers; every error in OpenAI's shape. Its own description is at /docs."""
    app = FastAPI(title="Casona", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    for router in routers:
        app.include_router(router)
    for path in ("/docs", "/openapi.json"):
        app.add_api_route(path, lambda: JSONResponse(app.openapi()), include_in_schema=False)
    app.add_exception_handler(CasonaError, _told)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _too_large(limit_bytes: int, *, uploads: bool) -> TooLarge:
    name = "max_upload_bytes" if uploads else "max_body_bytes"
    return TooLarge(f"the body is larger than the limit of {limit_bytes} bytes (server.{name})")


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
