"""What is noted of one exchange while it runs; settled once, however it ends."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from casona.exchange.errors import CasonaError
from casona.exchange.events import Event, Finished, Started, Usage, Warned
from casona.exchange.keys import Key
from casona.records.usage import UsageRow
from casona.routing.place import Place

Ended = Literal["done", "error", "hang_up", "refused"]
Record = Callable[[UsageRow], None]

NOTHING = Usage()
CHARACTERS_PER_TOKEN = 4  # of English; other languages have fewer, so this counts them low


def _unknown() -> int:
    return 0


log = logging.getLogger(__name__)


@dataclass(slots=True)
class Call:
    """What came in from the street: one request, not yet looked into."""

    id: str
    key: Key
    route: str
    raw: bytes
    started_s: float = field(default_factory=time.perf_counter)


@dataclass(slots=True)
class Tally:
    """`pieces` counts what was delivered: the estimate when the node's own count never comes;
    `prompt_characters` is asked only then."""

    call: Call
    record: Record
    model: str = ""
    place: Place | None = None
    usage: Usage | None = None
    pieces: int = 0
    prompt_tokens: int = 0
    prompt_characters: Callable[[], int] = _unknown
    first_s: float = 0.0
    queued_s: float = 0.0
    status: int = 200
    ended: Ended = "done"
    complete: bool = False
    settled: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def answer_id(self) -> str:
        return f"chatcmpl-{self.call.id.removeprefix('req_')}"

    def watched(self, usage: Usage | None, *, pieces: int, complete: bool) -> None:
        """Note what the relay lane has read so far."""
        self.usage = usage
        self.pieces = pieces
        self.complete = complete

    def warn(self, messages: Iterable[str]) -> None:
        """Note what the dialect had to change, before any node is asked."""
        self.warnings[:] = messages
        for message in self.warnings:
            log.warning("%s: %s", self.call.id, message)

    def event(self, event: Event) -> None:
        """Note one neutral event."""
        match event:
            case Started(queued_s=queued_s, prompt_tokens=prompt_tokens):
                self.queued_s = queued_s
                self.prompt_tokens = prompt_tokens
            case Finished(usage=usage):
                self.usage = usage
                self.complete = True
            case Warned(message):
                self.warnings.append(message)
                log.warning("%s: %s", self.call.id, message)  # once a stream runs, no header can tell
            case _:
                self.pieces += 1

    def _estimate(self) -> Usage:
        """What is known when the node's own count never came: each piece is a token or so."""
        if not self.pieces and not self.prompt_tokens:
            return NOTHING
        return Usage(completion_tokens=self.pieces, counted="estimate")

    def stopped(self, fault: BaseException) -> None:
        """Note why it ended early; whoever leaves after the last word has left a finished exchange."""
        match fault:
            case CasonaError(status=status):
                self.ended, self.status = "refused" if status < 500 else "error", status
            case asyncio.CancelledError() | GeneratorExit():
                self.ended = self.ended if self.complete else "hang_up"
            case _:
                self.ended, self.status = "error", CasonaError.status

    def settle(self) -> None:
        """Write the usage row. Called before the answer's last byte leaves; only the first call counts."""
        if self.settled:
            return
        self.settled = True
        call, place = self.call, self.place
        usage = self.usage
        if usage is None:
            usage = self._estimate()
        if usage.counted == "estimate" and not usage.prompt_tokens:
            prompt_tokens = self.prompt_tokens or self.prompt_characters() // CHARACTERS_PER_TOKEN
            usage = replace(usage, prompt_tokens=prompt_tokens)
        self.record(
            UsageRow(
                request_id=call.id,
                at=time.time(),
                key_id=call.key.id,
                model=self.model,
                node=place.state.name if place else "",
                zone=place.zone.value if place else "",
                route=call.route,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                cached_tokens=usage.cached_tokens,
                counted=usage.counted,
                first_token_ms=(self.first_s - call.started_s) * 1000 if self.first_s else 0.0,
                total_ms=(time.perf_counter() - call.started_s) * 1000,
                ended=self.ended,
                status=self.status,
            )
        )
