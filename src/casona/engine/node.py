"""The engine as a node: leases a model for each request and speaks to its child process.

The child is always asked for a stream with progress reports: only then does it notice at once
that nobody waits any more, also while it reads a long prompt (see `design.md`). So chat is
relayed streamed only; whole answers are gathered in the house from translated events.
"""

import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import TypeVar

import msgspec

from casona.engine.engine import Engine
from casona.engine.loaded import Lease
from casona.exchange.errors import BadRequest, CasonaError, NodeFailed, NodeRefused, PromptTooLong
from casona.exchange.events import Event, Started
from casona.exchange.request import ChatRequest
from casona.exchange.zones import Zone
from casona.nodes.base import Embeddings, NodeModel
from casona.nodes.http import Origin, Pool, Response
from casona.nodes.openai import OpenAINode, failure
from casona.nodes.rows import ROWS
from casona.settings import NodeKind, Timeouts

NAME = "engine"
CHAT = "/chat/completions"
MOST_POOLS = 32
CALLERS_FAULTS = {
    "image input is not supported": "messages: this model takes no images",
    "audio input is not supported": "messages: this model takes no audio",
    "too large to process": "input: a text is longer than this model can embed at once",
    "does not support logits": "model: this model embeds texts, it can't chat",
    "Failed to parse messages": "messages: the model's template can't render this conversation",
    "Failed to parse tools": "tools: the engine takes a list of functions",
    "Failed to parse tool call arguments": "messages: the arguments of a tool call are not a JSON object",
    "Unknown reasoning format": "reasoning_format: the engine does not know this one",
    "Cannot use both json_schema and grammar": "grammar: can't be used beside a JSON schema",
}
"""What llama.cpp calls its own error (500) and is the caller's to mend; see `design.md`."""

T = TypeVar("T")


class EngineNode:
    name = NAME
    zone = Zone.LOCAL
    relays = frozenset({"openai.chat"})
    relays_whole = frozenset({"openai.embeddings"})

    def __init__(self, engine: Engine, timeouts: Timeouts) -> None:
        self.engine = engine
        self._timeouts = timeouts
        self._children: dict[tuple[str, str], OpenAINode] = {}

    async def models(self) -> tuple[NodeModel, ...]:
        return tuple(
            NodeModel(
                name=model.name,
                zone=self.zone,
                abilities=frozenset(model.kinds),  # type: ignore[arg-type]
                context_tokens=model.context_tokens or None,
                created=int(model.file.modified_s),
                broken=model.broken,
            )
            for model in self.engine.models()
        )

    def zone_of(self, model: str) -> Zone:
        return self.zone

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        began_s = time.perf_counter()
        extras = {**request.extras, "openai": {**request.extras.get("openai", {}), "return_progress": True}}
        asked = dataclasses.replace(request, extras=extras)
        lease, events, event = await self._begun(asked)
        try:
            async with aclosing(events):
                if isinstance(event, Started):
                    event = dataclasses.replace(event, queued_s=lease.acquired_s - began_s)
                yield event
                with _mending():
                    async for event in events:
                        yield event
        except NodeFailed as fault:
            raise await _explained(fault, lease) from fault
        finally:
            lease.release()

    async def _begun(self, asked: ChatRequest) -> "tuple[Lease, AsyncGenerator[Event, None], Event]":
        """A lease, the answer's events, and the first of them."""

        async def begin(lease: Lease) -> "tuple[Lease, AsyncGenerator[Event, None], Event]":
            events = self._child(lease).chat(asked)
            return lease, events, await anext(events)

        return await self._on_living_child(asked.model, asked.keep_alive, begin)

    async def relay(self, model: str, path: str, body: bytes) -> "LeasedReply":
        began_s = time.perf_counter()

        async def begin(lease: Lease) -> LeasedReply:
            asked = body[:-1] + b',"return_progress":true}' if path == CHAT else body
            reply = await self._child(lease).relay(model, path, asked)
            if reply.status != 200:
                raise failure(NAME, reply.status, await reply.read(), headers=reply.headers)
            return LeasedReply(reply, lease, lease.acquired_s - began_s)

        return await self._on_living_child(model, "", begin)

    async def _on_living_child(
        self, model: str, keep_alive: str, begin: Callable[[Lease], Awaitable[T]]
    ) -> T:
        """What `begin` gives, which then owns the lease. A child that died unnoticed is replaced once."""
        for last in (False, True):
            lease = await self.engine.acquire(model, keep_alive=keep_alive or None)
            try:
                with _mending():
                    return await begin(lease)
            except NodeFailed as fault:
                explained = await _explained(fault, lease)
                lease.release()
                if last or explained is fault:
                    raise explained from fault
            except BaseException:
                lease.release()
                raise
        raise AssertionError("the last turn returns or raises")

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        lease = await self.engine.acquire(model)
        try:
            with _mending():
                return await self._child(lease).embed(model, texts)
        except NodeFailed as fault:
            raise await _explained(fault, lease) from fault
        finally:
            lease.release()

    async def close(self) -> None:
        for child in self._children.values():
            await child.close()

    def _child(self, lease: Lease) -> OpenAINode:
        """The child of a lease as a node; each has its own port and key."""
        address = lease.url, lease.api_key
        child = self._children.get(address)
        if child is None:
            if len(self._children) >= MOST_POOLS:  # the oldest ones ended long ago
                self._children.pop(next(iter(self._children)))
            origin = Origin.of(NAME, lease.url + "/v1")
            pool = Pool(origin, self._timeouts, {"authorization": f"Bearer {lease.api_key}"})
            child = self._children[address] = OpenAINode(NAME, self.zone, pool, ROWS[NodeKind.LLAMACPP])
        return child


class LeasedReply:
    """A child's answer; the lease ends with it."""

    def __init__(self, reply: Response, lease: Lease, queued_s: float) -> None:
        self._reply = reply
        self._lease = lease
        self.status = reply.status
        self.headers = reply.headers
        self.queued_s = queued_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self._reply.piece():
                yield piece
        except NodeFailed as fault:
            raise await _explained(fault, self._lease) from fault

    async def read(self) -> bytes:
        return await self._reply.read()

    def close(self) -> None:
        self._reply.close()
        self._lease.release()


@contextmanager
def _mending() -> Iterator[None]:
    """llama.cpp's refusals in the house's words."""
    try:
        yield
    except NodeRefused as refused:
        raise _in_our_words(refused) from refused
    except NodeFailed as fault:
        for words, ours in CALLERS_FAULTS.items():
            if words in str(fault):
                raise BadRequest(ours, param=ours.partition(":")[0]) from fault
        raise


def _in_our_words(refused: NodeRefused) -> CasonaError:
    try:
        error = msgspec.json.decode(refused.body)["error"]
        return PromptTooLong(prompt_tokens=int(error["n_prompt_tokens"]), context_tokens=int(error["n_ctx"]))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return refused


async def _explained(fault: NodeFailed, lease: Lease) -> NodeFailed:
    """A broken connection in the words of what happened to the child, if it has ended."""
    if isinstance(fault, NodeRefused):
        return fault
    cause = await lease.cause_of_death(wait_s=0.5)
    return NodeFailed(f"the model {lease.model.name!r} stopped in its answer: {cause}") if cause else fault
