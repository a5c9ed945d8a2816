"""The promises every node makes."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from casona.exchange.events import Event
from casona.exchange.request import ChatRequest
from casona.exchange.zones import Zone

Ability = Literal["chat", "embed", "rerank", "vision", "tools"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeModel:
    """A model as one node lists it. The zone is the model's: an Ollama node may list cloud models.

    `abilities` is empty when the node does not say. `broken` is why it cannot be served, or "".
    """

    name: str
    zone: Zone
    abilities: frozenset[Ability] = frozenset()
    context_tokens: int | None = None
    created: int = 0
    broken: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    vectors: Sequence[Sequence[float]]
    prompt_tokens: int


class Reply(Protocol):
    """A node's answer as bytes, for the relay lane.

    `queued_s` is how long the request waited in the house for the model to be ready.
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...
    @property
    def queued_s(self) -> float: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self) -> bytes: ...

    def close(self) -> None:
        """Stop the work on the node unless the whole answer has been read."""


class Node(Protocol):
    """A place that runs models. Everything raises CasonaError and nothing else.

    `relays` names the dialects whose bytes the node takes and gives as they are when streamed,
    `relays_whole` those where it does so for whole answers.
    """

    name: str
    zone: Zone
    relays: frozenset[str]
    relays_whole: frozenset[str]

    async def models(self) -> tuple[NodeModel, ...]:
        """What it can serve now. Raises NodeFailed when it can't be asked."""

    def zone_of(self, model: str) -> Zone:
        """How far data travels to a model of this name, listed or not."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Run one request; `request.model` is the node's own name for the model.

        Yields events and ends with one Finished. Closing the generator cancels the work.
        """

    async def relay(self, model: str, path: str, body: bytes) -> Reply:
        """Send `body` as it is to `path` (such as "/chat/completions") and give the answer's bytes."""

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """One vector per text, in order."""

    async def close(self) -> None: ...
