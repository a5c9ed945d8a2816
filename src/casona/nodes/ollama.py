"""An Ollama server, by its native API.

Its OpenAI routes can't set the context, ignore `tool_choice` and cut prompts without a word;
/api/chat lets us do better: one fixed `num_ctx` per model so that nothing is loaded anew, and
`truncate: false` so that a prompt that does not fit is refused. Source: Ollama docs/api.md.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from casona.exchange.errors import BadRequest, CasonaError, NodeFailed, NodeRefused, PromptTooLong
from casona.exchange.events import Event, Warned
from casona.exchange.request import ChatRequest, ImagePart, ToolResultPart
from casona.exchange.zones import Zone
from casona.nodes import forced_call, ndjson, ollama_events, ollama_models, ollama_request
from casona.nodes.base import Embeddings, NodeModel
from casona.nodes.http import Origin, Pool, Response
from casona.nodes.ollama_models import LATEST, Facts, is_cloud_name
from casona.nodes.openai import failure, tls_context
from casona.settings import Node as NodeSettings
from casona.settings import Timeouts

MOST_SHOWN_AT_ONCE = 4


class OllamaNode:
    """One Ollama server. `context_tokens` is its setting: the `num_ctx` of all its models."""

    relays: frozenset[str] = frozenset()
    relays_whole: frozenset[str] = frozenset()

    def __init__(
        self,
        name: str,
        zone: Zone,
        pool: Pool,
        *,
        models: Sequence[str] = (),
        context_tokens: int | None = None,
    ) -> None:
        self.name = name
        self.zone = zone
        self.pool = pool
        self._offered = tuple(models)
        self._configured = context_tokens
        self._facts: dict[str, Facts] = {}
        self._shown: dict[tuple[str, str], Facts] = {}
        self._grown: dict[str, int] = {}

    async def models(self) -> tuple[NodeModel, ...]:
        found = ollama_models.from_tags(await self._json(await self.pool.get("/api/tags")))
        if found is None:
            raise NodeFailed(f"node {self.name!r} gave no list of models; is it an Ollama server?")
        gate = asyncio.Semaphore(MOST_SHOWN_AT_ONCE)
        shown = await asyncio.gather(*(self._show(facts, gate) for facts in found))
        loaded = await self._loaded()
        self._shown = {(facts.name, facts.digest): facts for facts in shown if facts.capabilities is not None}
        known = [replace(facts, loaded_tokens=loaded.get(facts.name)) for facts in shown]
        offered = ollama_models.offered(known, self._offered)
        self._facts = {facts.name: facts for facts in [*known, *offered]}
        return tuple(facts.listed(self.zone, self._configured) for facts in offered)

    def zone_of(self, model: str) -> Zone:
        return Zone.CLOUD if is_cloud_name(model) else self.zone

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        facts = self._facts_of(request.model)
        _refuse_images(request, facts)
        context_tokens = self._context(request, facts)
        asking = ollama_request.body(request, _manner(facts, context_tokens))
        reply = await self.pool.post(
            "/api/chat", msgspec.json.encode(asking.body), accept="application/x-ndjson"
        )
        try:
            if reply.status != 200:
                raise _in_our_words(failure(self.name, reply.status, await reply.read()))
            for warning in asking.warnings:
                yield Warned(warning)
            reading = ollama_events.Reading(
                forced=forced_call.is_forced(request.tool_choice),
                logprobs=request.sampling.logprobs,
                context_tokens=context_tokens or facts.loaded_tokens,
            )
            async with aclosing(ollama_events.events(ndjson.lines_of(aiter(reply)), reading)) as events:
                async for event in events:
                    yield event
            reply.release()
        finally:
            reply.close()

    async def relay(self, model: str, path: str, body: bytes) -> Response:
        return await self.pool.post(path, body)

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Raises NodeRefused for a text that does not fit: nothing is cut unasked."""
        asked = {"model": model, "input": list(texts), "truncate": False}
        found = await self._json(await self.pool.post("/api/embed", msgspec.json.encode(asked)))
        vectors = found.get("embeddings") if isinstance(found, dict) else None
        if not isinstance(vectors, list) or not all(isinstance(vector, list) for vector in vectors):
            raise NodeFailed(f"node {self.name!r} gave embeddings that can't be read")
        if len(vectors) != len(texts):
            raise NodeFailed(f"node {self.name!r} gave {len(vectors)} embeddings for {len(texts)} texts")
        count = found.get("prompt_eval_count")
        return Embeddings(vectors=vectors, prompt_tokens=count if isinstance(count, int) else 0)

    async def close(self) -> None:
        await self.pool.close()

    # --- what is known of a model

    def _facts_of(self, model: str) -> Facts:
        return self._facts.get(model) or self._facts.get(model + LATEST) or Facts(name=model)

    async def _show(self, facts: Facts, gate: asyncio.Semaphore) -> Facts:
        """What /api/show adds, asked once per digest. A model that can't be shown is listed all the same."""
        known = self._shown.get((facts.name, facts.digest))
        if known is not None and facts.digest:
            return replace(known, remote=known.remote or facts.remote, created=facts.created)
        body = msgspec.json.encode({"model": facts.name})
        async with gate:
            try:
                return ollama_models.with_show(
                    facts, await self._json(await self.pool.post("/api/show", body))
                )
            except CasonaError:
                return facts

    async def _loaded(self) -> dict[str, int]:
        try:
            return ollama_models.loaded(await self._json(await self.pool.get("/api/ps")))
        except CasonaError:
            return {}  # older servers have no such route

    def _context(self, request: ChatRequest, facts: Facts) -> int | None:
        """The `num_ctx` to send; None leaves it to the server.

        It is the same for every request, so that the model is not loaded anew; only a client that
        asks for more than there is makes it grow, and it stays grown.
        """
        fixed = facts.context(self._configured)
        here = max(fixed or 0, self._grown.get(facts.name, 0)) or None
        wanted = request.context_tokens
        if wanted is None or wanted <= (here or facts.loaded_tokens or 0):
            return here
        grown = min(wanted, facts.trained_tokens or wanted)
        self._grown[facts.name] = max(grown, here or 0)
        return self._grown[facts.name]

    async def _json(self, reply: Response) -> Any:
        body = await reply.read()
        if reply.status != 200:
            raise failure(self.name, reply.status, body)
        try:
            return msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise NodeFailed(f"node {self.name!r} sent what is not JSON") from fault


def _manner(facts: Facts, context_tokens: int | None) -> ollama_request.Manner:
    return ollama_request.Manner(
        context_tokens=context_tokens, thinks=facts.thinks, thinks_in_levels=facts.thinks_in_levels
    )


def _refuse_images(request: ChatRequest, facts: Facts) -> None:
    """A model without eyes would answer as if no image had been sent."""
    if facts.takes("vision"):
        return
    parts = [part for turn in request.turns for part in turn.parts]
    inner = [part for result in parts if isinstance(result, ToolResultPart) for part in result.parts]
    if any(isinstance(part, ImagePart) for part in [*parts, *inner]):
        raise BadRequest("messages: this model takes no images", param="messages")


def _in_our_words(error: CasonaError) -> CasonaError:
    """A refusal of a prompt that does not fit, with both numbers when the node names them."""
    words = str(error)
    if isinstance(error, NodeRefused) and "context" in words and "exceed" in words:
        numbers = [int(number) for number in re.findall(r"\d+", words)]
        if len(numbers) == 2:
            return PromptTooLong(prompt_tokens=max(numbers), context_tokens=min(numbers))
    return error


def connect(settings: NodeSettings, zone: Zone, timeouts: Timeouts) -> OllamaNode:
    """A node as the settings describe it."""
    url = settings.url.rstrip("/").removesuffix("/v1").removesuffix("/api")
    headers = {}
    if settings.api_key is not None:
        headers["authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
    pool = Pool(
        Origin.of(settings.name, url, tls=tls_context(settings)), settings.timeouts or timeouts, headers
    )
    return OllamaNode(settings.name, zone, pool, models=settings.models, context_tokens=settings.context)
