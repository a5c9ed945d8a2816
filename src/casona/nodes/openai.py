"""Any server that speaks OpenAI's chat API: llama.cpp, vLLM, MLX-LM, LocalAI, llamafile, clouds."""

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from casona.exchange.errors import CasonaError, NodeFailed, NodeRefused
from casona.exchange.events import Event, Warned
from casona.exchange.request import ChatRequest
from casona.exchange.zones import Zone
from casona.nodes import openai_events, openai_request, sse
from casona.nodes.base import Embeddings, NodeModel
from casona.nodes.http import Origin, Pool, Response
from casona.nodes.rows import ROWS, Row
from casona.settings import Node as NodeSettings
from casona.settings import Timeouts

PASSED_ON = frozenset({400, 413, 422, 429})
"""Statuses of a node that are the client's to act on; all others are the node's own trouble."""

Headers = Sequence[tuple[bytes, bytes]]


class OpenAINode:
    """One OpenAI-compatible server."""

    relays = frozenset({"openai.chat"})
    relays_whole = frozenset({"openai.chat", "openai.embeddings"})

    def __init__(self, name: str, zone: Zone, pool: Pool, row: Row, models: Sequence[str] = ()) -> None:
        self.name = name
        self.zone = zone
        self.pool = pool
        self.row = row
        self._offered = tuple(models)

    async def models(self) -> tuple[NodeModel, ...]:
        if self._offered:
            return tuple(NodeModel(name=name, zone=self.zone) for name in self._offered)
        found = await self._json(await self.pool.get("/models"))
        rows = found.get("data") if isinstance(found, dict) else None
        if not isinstance(rows, list):
            raise NodeFailed(f"node {self.name!r} gave no list of models; name them in its `models` setting")
        return tuple(self._model(row) for row in rows if isinstance(row, dict) and row.get("id"))

    def zone_of(self, model: str) -> Zone:
        return self.zone

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        body = msgspec.json.encode(openai_request.body(request, self.row))
        reply = await self.pool.post("/chat/completions", body, accept="text/event-stream")
        try:
            if reply.status != 200:
                raise failure(self.name, reply.status, await reply.read(), headers=reply.headers)
            for warning in openai_request.dropped(request, self.row):
                yield Warned(warning)
            async with aclosing(openai_events.events(sse.data_of(aiter(reply)))) as events:
                async for event in events:
                    yield event
            reply.release()
        finally:
            reply.close()

    async def relay(self, model: str, path: str, body: bytes) -> Response:
        return await self.pool.post(path, body)

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        asked = {"model": model, "input": list(texts), "encoding_format": "float"}
        found = await self._json(await self.pool.post("/embeddings", msgspec.json.encode(asked)))
        try:
            rows = sorted(found["data"], key=lambda row: int(row["index"]))
            vectors = [row["embedding"] for row in rows]
            prompt_tokens = int((found.get("usage") or {}).get("prompt_tokens") or 0)
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise NodeFailed(f"node {self.name!r} gave embeddings that can't be read") from fault
        if len(vectors) != len(texts):
            raise NodeFailed(f"node {self.name!r} gave {len(vectors)} embeddings for {len(texts)} texts")
        return Embeddings(vectors=vectors, prompt_tokens=prompt_tokens)

    async def close(self) -> None:
        await self.pool.close()

    async def _json(self, reply: Response) -> Any:
        body = await reply.read()
        if reply.status != 200:
            raise failure(self.name, reply.status, body, headers=reply.headers)
        try:
            return msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise NodeFailed(f"node {self.name!r} sent what is not JSON") from fault

    def _model(self, row: dict[str, Any]) -> NodeModel:
        """vLLM says `max_model_len`, llama.cpp `meta.n_ctx_train`."""
        meta = row.get("meta") if isinstance(row.get("meta"), dict) else None
        context = row.get("max_model_len") or (meta or {}).get("n_ctx_train")
        return NodeModel(
            name=str(row["id"]),
            zone=self.zone,
            context_tokens=context if isinstance(context, int) else None,
            created=row["created"] if isinstance(row.get("created"), int) else 0,
        )


def failure(node: str, status: int, body: bytes, *, headers: Headers = (), dialect: str = "") -> CasonaError:
    """A node's error answer as one of ours: its 4xx that a client can act on keep status and words."""
    words, param = _words(body)
    if status in PASSED_ON:
        refused = NodeRefused(words or f"node {node!r} refused the request", status=status, param=param)
        refused.body, refused.dialect = body, dialect
        refused.retry_after = next(
            (value.decode("ascii", "ignore") for name, value in headers if name == b"retry-after"), ""
        )
        return refused
    if status in {401, 403}:
        return NodeFailed(f"node {node!r} refused the key that the settings give for it")
    return NodeFailed(f"node {node!r} answered {status}", said=words or "no reason given")


def _words(body: bytes) -> tuple[str, str | None]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return body[:200].decode("utf-8", "replace").strip(), None
    if not isinstance(found, dict):
        return str(found)[:200], None
    error = found.get("error") or found.get("detail") or found.get("message") or ""
    param = error.get("param") if isinstance(error, dict) else None
    return openai_events.error_message(error), param if isinstance(param, str) else None


def connect(settings: NodeSettings, zone: Zone, timeouts: Timeouts) -> OpenAINode:
    """A node as the settings describe it."""
    row = ROWS[settings.kind]
    origin = Origin.of(settings.name, settings.url, tls=tls_context(settings))
    if not origin.prefix:
        origin = Origin.of(settings.name, settings.url.rstrip("/") + row.version_path, tls=origin.tls)
    headers = {}
    if settings.api_key is not None:
        headers["authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
    pool = Pool(origin, settings.timeouts or timeouts, headers)
    return OpenAINode(settings.name, zone, pool, row, settings.models)


def tls_context(settings: NodeSettings) -> ssl.SSLContext | None:
    """None for the default: certificates verified against the system's authorities."""
    if settings.verify_tls and settings.ca_file is None:
        return None
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
