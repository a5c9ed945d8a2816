"""An Ollama node's /api/chat stream as neutral events.

Source: Ollama docs/api.md and api/types.go. Each line is one JSON object, the last has `done`.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from casona.exchange.errors import NodeFailed
from casona.exchange.events import (
    Event,
    Finished,
    LogProbs,
    Started,
    StopReason,
    Text,
    Thinking,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
    Warned,
)
from casona.nodes import forced_call
from casona.nodes.openai_events import error_message

STOP_REASONS: dict[str, StopReason] = {"stop": "end", "length": "length", "load": "end", "unload": "end"}


class Function(Struct, frozen=True):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw(b"")

    @property
    def arguments_text(self) -> str:
        """The arguments' JSON text; some servers put it into a string, some leave it out."""
        try:
            text = bytes(self.arguments).decode()
            if text.startswith('"'):
                text = msgspec.json.decode(text, type=str)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise NodeFailed(f"the node sent a tool call that can't be read: {fault}") from fault
        return "{}" if text in {"", "null"} else text


class ToolCall(Struct, frozen=True):
    id: str | None = None
    function: Function = Function()


class Message(Struct, frozen=True):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCall] | None = None


class Line(Struct):
    model: str | None = None
    created_at: str | None = None
    message: Message | None = None
    logprobs: list[dict[str, Any]] | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_line = msgspec.json.Decoder(Line)


class Reading:
    """One answer as it is read.

    `forced` says that the answer's text is a tool call under a schema. `context_tokens` is how
    many tokens the model holds, as far as known.
    """

    def __init__(
        self, *, forced: bool = False, logprobs: bool = False, context_tokens: int | None = None
    ) -> None:
        self.forced = forced
        self.context_tokens = context_tokens
        self.done = False
        self._owes_logprobs = logprobs
        self._begun = False
        self._calls = 0
        self._pieces = 0
        self._text: list[str] = []

    def events(self, data: bytes) -> Iterator[Event]:
        """What one line means. Raises NodeFailed for an error of the node, or a line that can't be read."""
        try:
            line = _line.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise NodeFailed(f"the node sent a line that can't be read: {fault}") from fault
        if line.error is not None:
            raise NodeFailed("the node answered with an error", said=error_message(line.error))
        if not self._begun:
            self._begun = True
            yield Started(model=line.model or "")
        if line.message is not None:
            yield from self._message(line.message, line.created_at or "")
        if line.logprobs:
            self._owes_logprobs = False
            yield LogProbs(line.logprobs)
        if line.done:
            self.done = True
            yield from self._end(line)

    def _message(self, message: Message, created_at: str) -> Iterator[Event]:
        if message.thinking:
            self._pieces += 1
            yield Thinking(message.thinking)
        if message.content:
            self._pieces += 1
            if self.forced:
                self._text.append(message.content)
            else:
                yield Text(message.content)
        for call in message.tool_calls or ():
            self._pieces += 1
            yield from self._call(call, created_at)

    def _call(self, call: ToolCall, created_at: str) -> Iterator[Event]:
        name, arguments = call.function.name, call.function.arguments_text
        call_id = call.id or _id_of(created_at, self._calls, name, arguments)
        yield ToolCallStarted(self._calls, call_id, name)
        yield ToolCallArguments(self._calls, arguments)
        self._calls += 1

    def _end(self, line: Line) -> Iterator[Event]:
        reason = STOP_REASONS.get(line.done_reason or "stop", "end")
        if self.forced and not self._calls:
            yield from self._forced_call(reason, line.created_at or "")
        if self._owes_logprobs:
            yield Warned("logprobs: this Ollama server gives none; version 0.12.11 and later do")
        prompt_tokens = line.prompt_eval_count or 0
        if self.context_tokens and prompt_tokens >= self.context_tokens:
            yield Warned(
                f"the prompt filled the model's whole context of {self.context_tokens} tokens on this node "
                "and may have been cut; raise the node's `context` setting"
            )
        if self._calls and reason == "end":
            reason = "tool"
        yield Finished(reason=reason, usage=self._usage(line))

    def _forced_call(self, reason: StopReason, created_at: str) -> Iterator[Event]:
        found = forced_call.read("".join(self._text))
        if found is not None:
            yield from self._call(ToolCall(function=Function(found.name, found.arguments)), created_at)
        elif reason == "length":
            yield Warned("tool_choice: the token limit came before the tool call was complete")
        else:
            raise NodeFailed("the model made no tool call although it had to (tool_choice)")

    def _usage(self, line: Line) -> Usage:
        """Servers leave out what they did not evaluate, such as a prompt that was still in the cache."""
        prompt, completion = line.prompt_eval_count, line.eval_count
        told = (prompt is not None and completion is not None) or line.done_reason in {"load", "unload"}
        return Usage(
            prompt_tokens=prompt or 0,
            completion_tokens=(0 if told else self._pieces) if completion is None else completion,
            counted="node" if told else "estimate",
        )


def _id_of(*facts: object) -> str:
    """An id for a call that has none: the same bytes of a node always give the same."""
    return "call_" + hashlib.sha256(repr(facts).encode()).hexdigest()[:24]


async def events(lines: AsyncIterator[bytes], reading: Reading) -> AsyncGenerator[Event, None]:
    """The events of one answer from its lines; one Finished last."""
    async for line in lines:
        for event in reading.events(line):
            yield event
        if reading.done:
            return
    raise NodeFailed("the node's answer broke off before its end")
