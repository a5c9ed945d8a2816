"""What the relay lane reads from OpenAI chat bytes as they pass: usage, first content, the end.

Only whole events pass on, so that an error of ours never lands inside half of one. Everything
before the first content is held back: until then another node may still be tried.
"""

from typing import Any

import msgspec
from msgspec import Struct

from casona.exchange.errors import NodeFailed
from casona.exchange.events import Usage
from casona.nodes.openai_events import Chunk, UsageObject, error_message

MAX_EVENT_BYTES = 16 * 2**20
DONE = b"data: [DONE]\n\n"
MARKS = (b'"usage"', b'"finish_reason":"', b'"finish_reason": "', b'"error"', b"[DONE]")
"""What an event must hold to be worth a look once the answer has begun; inside strings quotes are escaped."""


class _Whole(Struct):
    usage: UsageObject | None = None
    error: Any = None


_chunk = msgspec.json.Decoder(Chunk)
_whole = msgspec.json.Decoder(_Whole)


def usage_of(whole: bytes) -> Usage | None:
    """The usage of an unstreamed answer; None when the node gave none.

    Raises NodeFailed for what is no answer: no JSON object, or an error that calls itself a success.
    """
    try:
        found = _whole.decode(whole)
    except msgspec.ValidationError as fault:
        if "$.usage" in str(fault):
            return None
        raise NodeFailed("the node answered with what is no JSON object") from fault
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise NodeFailed("the node answered with what is no JSON object") from fault
    if found.error is not None:
        raise NodeFailed("the node answered with an error", said=error_message(found.error))
    return found.usage.neutral() if found.usage else None


class StreamWatch:
    """Feeds on a node's stream; gives what may pass to the client.

    `started` once content has been seen, `ended` once a finish reason was, `done` after [DONE].
    `deltas` counts the pieces that passed, the estimate of tokens when a client hangs up;
    `prompt_tokens` is what the node told of the prompt so far.
    """

    def __init__(self, *, wants_usage: bool) -> None:
        self.wants_usage = wants_usage
        self.started = False
        self.ended = False
        self.failed = ""
        self.usage: Usage | None = None
        self.deltas = 0
        self.prompt_tokens = 0
        self._tail = b""
        self._held: list[bytes] = []
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """Whole events ready to pass, maybe none. Raises NodeFailed for an error before any content."""
        data = self._whole_events(data)
        if not data:
            return b""
        if not self.started:
            return self._begin(data)
        if any(mark in data for mark in MARKS):
            return self._sifted(data)
        self.deltas += data.count(b"\n\n")
        return data

    def close(self) -> bytes:
        """The node's stream is over: what is still owed. Raises NodeFailed when it broke off early."""
        rest, self._tail = self._tail.strip(), b""
        owed = self._last(rest) if rest else b""
        if self.failed:
            return owed
        if not self.ended:
            raise NodeFailed("the node's answer broke off before its end")
        return owed if self.done else owed + DONE

    def _last(self, event: bytes) -> bytes:
        """An event without its end: sent by a careless server, or cut off, which decoding it shows."""
        return self._sifted(event) if self.started else self._begin(event)

    def _whole_events(self, data: bytes) -> bytes:
        data = self._tail + data if self._tail else data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        if data.endswith(b"\n\n"):
            self._tail = b""
            return data
        cut = data.rfind(b"\n\n") + 2
        if cut < 2:
            cut = 0
        self._tail = data[cut:]
        if len(self._tail) > MAX_EVENT_BYTES:
            raise NodeFailed("the node sent an event without end")
        return data[:cut]

    def _begin(self, data: bytes) -> bytes:
        passing = self._sifted(data)
        if self.failed:
            raise NodeFailed("the node answered with an error", said=self.failed)
        if passing:
            self._held.append(passing)
        if not self.started:
            return b""
        passing, self._held = b"".join(self._held), []
        return passing

    def _sifted(self, data: bytes) -> bytes:
        return b"".join(event + b"\n\n" for event in data.split(b"\n\n") if event and self._passes(event))

    def _passes(self, event: bytes) -> bool:
        payload = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if not payload:
            return self.started  # a comment: a ping of the node
        if payload == b"[DONE]":
            self.started = self.ended = self.done = True
            return True
        try:
            chunk = _chunk.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise NodeFailed(f"the node sent an event that is not JSON: {fault}") from fault
        return self._noted(chunk)

    def _noted(self, chunk: Chunk) -> bool:
        if chunk.error is not None:
            self.failed = error_message(chunk.error)
            return True
        if chunk.prompt_progress is not None:
            self.prompt_tokens = chunk.prompt_progress.total
            return False
        choices = chunk.choices or ()
        if any(choice.says_something for choice in choices):
            self.started = True
            self.deltas += 1
        if any(choice.finish_reason for choice in choices):
            self.ended = True
        if chunk.usage is not None:
            self.usage = chunk.usage.neutral()
            return self.wants_usage or bool(choices)
        return True
