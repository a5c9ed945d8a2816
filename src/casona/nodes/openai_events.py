"""An OpenAI-compatible node's stream as neutral events."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from casona.exchange.errors import NodeFailed
from casona.exchange.events import (
    ChoiceEnded,
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
)

STOP_REASONS: dict[str, StopReason] = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tool",
    "function_call": "tool",
    "content_filter": "filtered",
}


class Function(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class ToolCall(Struct):
    index: int = 0
    id: str | None = None
    function: Function = Function()


class Delta(Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class LogProbsObject(Struct):
    content: list[dict[str, Any]] | None = None


class Choice(Struct):
    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: LogProbsObject | None = None

    @property
    def says_something(self) -> bool:
        """Whether this is content or an end, and not just the greeting with the role."""
        delta = self.delta or Delta()
        return bool(
            self.finish_reason
            or delta.content
            or delta.reasoning_content
            or delta.reasoning
            or delta.refusal
            or delta.tool_calls
        )


class PromptDetails(Struct):
    cached_tokens: int | None = None


class CompletionDetails(Struct):
    reasoning_tokens: int | None = None


class UsageObject(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    def neutral(self) -> Usage:
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            prompt_tokens=self.prompt_tokens or 0,
            completion_tokens=self.completion_tokens or 0,
            cached_tokens=(prompt and prompt.cached_tokens) or 0,
            reasoning_tokens=(completion and completion.reasoning_tokens) or 0,
        )


class Chunk(Struct):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: UsageObject | None = None
    error: Any = None
    prompt_progress: Any = None  # llama.cpp's, when asked with return_progress


_chunk = msgspec.json.Decoder(Chunk)


class Reading:
    """One answer as it is read: what has been seen, and what each chunk means."""

    def __init__(self) -> None:
        self.begun = False
        self.reason: StopReason | None = None
        self.usage: Usage | None = None
        self.pieces = 0
        self._calls: set[tuple[int, int]] = set()

    def events(self, data: bytes) -> Iterator[Event]:
        try:
            chunk = _chunk.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise NodeFailed(f"the node sent an event that can't be read: {fault}") from fault
        if chunk.error is not None:
            raise NodeFailed(f"the node answered with an error: {error_message(chunk.error)}")
        if not self.begun:
            self.begun = True
            yield Started(model=chunk.model or "", id=chunk.id or "")
        for choice in chunk.choices or ():
            yield from self._choice(choice)
        if chunk.usage is not None:
            self.usage = chunk.usage.neutral()

    def finished(self) -> Finished:
        """Raises NodeFailed when the answer broke off before any choice had ended."""
        if self.reason is None:
            raise NodeFailed("the node's answer broke off before its end")
        usage = self.usage or Usage(completion_tokens=self.pieces, counted="estimate")
        return Finished(reason=self.reason, usage=usage)

    def _choice(self, choice: Choice) -> Iterator[Event]:
        at = choice.index
        for event in self._delta(choice.delta, at) if choice.delta else ():
            self.pieces += 1
            yield event
        if choice.logprobs is not None and choice.logprobs.content:
            yield LogProbs(choice.logprobs.content, at)
        if choice.finish_reason:
            self.reason = STOP_REASONS.get(choice.finish_reason, "end")
            yield ChoiceEnded(self.reason, "", at)

    def _delta(self, delta: Delta, at: int) -> Iterator[Event]:
        if thought := delta.reasoning_content or delta.reasoning:
            yield Thinking(thought, at)
        if text := delta.content or delta.refusal:
            yield Text(text, at)
        for call in delta.tool_calls or ():
            if (at, call.index) not in self._calls:
                self._calls.add((at, call.index))
                yield ToolCallStarted(call.index, call.id or "", call.function.name or "", at)
            if call.function.arguments:
                yield ToolCallArguments(call.index, call.function.arguments, at)


async def events(data: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """The events of one answer from the data of its server-sent events; one Finished last."""
    reading = Reading()
    async for item in data:
        if item == b"[DONE]":
            break
        for event in reading.events(item):
            yield event
    yield reading.finished()


def error_message(error: Any) -> str:
    """The words of an OpenAI-shaped error, whichever of its forms a server uses."""
    if isinstance(error, dict):
        inner = error.get("error", error)
        if isinstance(inner, dict):
            return str(inner.get("message") or inner)
        return str(inner)
    return str(error)
