"""What a dialect gives to the life of a request."""

from collections.abc import Iterator
from typing import Protocol

from casona.exchange.errors import CasonaError
from casona.exchange.events import Event
from casona.exchange.request import ChatRequest


class Asked(Protocol):
    """A checked request body, not yet translated."""

    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool: ...
    @property
    def wants_usage(self) -> bool: ...

    @property
    def link(self) -> str:
        """The field with an address that a node would fetch, or ""."""

    def prompt_characters(self) -> int:
        """How much text the prompt has, for an estimate of its tokens."""

    def relayed(self, model: str) -> bytes:
        """The body for a node of the same dialect, which calls the model `model`."""

    def translated(self, model: str) -> tuple[ChatRequest, tuple[str, ...]]:
        """The request in neutral words, and a warning for each thing that has none."""


class StreamEncoder(Protocol):
    def event(self, event: Event) -> Iterator[bytes]: ...


class WholeAnswer(Protocol):
    def event(self, event: Event) -> None: ...
    def encode(self) -> bytes: ...


class Dialect(Protocol):
    """One of the wire formats clients speak. Pure: no sockets, clocks or settings."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str:
        """Where a node of this dialect takes chat requests, below its version prefix."""

    @property
    def stream_type(self) -> bytes:
        """The content type of a streamed answer."""

    @property
    def ping(self) -> bytes:
        """What keeps a silent stream alive, b"" when the dialect has nothing for it."""

    def read(self, raw: bytes) -> Asked:
        """Check a request body. Raises BadRequest, naming the field at fault."""

    def stream(self, asked: Asked, *, answer_id: str, created: int) -> StreamEncoder: ...
    def whole(self, asked: Asked, *, answer_id: str, created: int) -> WholeAnswer: ...
    def error_body(self, error: CasonaError) -> bytes: ...
    def error_headers(self, error: CasonaError) -> dict[str, str]: ...
    def error_event(self, error: CasonaError) -> bytes: ...
