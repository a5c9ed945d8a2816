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
    """Some servers give the arguments as an object instead of its text."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def fragment(self) -> str:
        if isinstance(self.arguments, dict):
            return msgspec.json.encode(self.arguments).decode()
        return self.arguments or ""


class ToolCall(Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


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


class Progress(Struct, frozen=True):
    """llama.cpp's, when asked with return_progress: tokens of the prompt."""

    total: int = 0


class Chunk(Struct):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: UsageObject | None = None
    error: Any = None
    prompt_progress: Progress | None = None


_chunk = msgspec.json.Decoder(Chunk)


class Reading:
    """One answer as it is read: what has been seen, and what each chunk means."""

    def __init__(self) -> None:
        self.begun = False
        self.reason: StopReason | None = None
        self.usage: Usage | None = None
        self.pieces = 0
        self._id = ""
        self._going: set[int] = set()
        self._ended: set[int] = set()
        self._calls: dict[int, Calls] = {}

    def events(self, data: bytes) -> Iterator[Event]:
        try:
            chunk = _chunk.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise NodeFailed(f"the node sent an event that can't be read: {fault}") from fault
        if chunk.error is not None:
            raise NodeFailed("the node answered with an error", said=error_message(chunk.error))
        if not self.begun:
            self.begun = True
            self._id = chunk.id or ""
            prompt_tokens = chunk.prompt_progress.total if chunk.prompt_progress else 0
            yield Started(model=chunk.model or "", id=chunk.id or "", prompt_tokens=prompt_tokens)
        for choice in chunk.choices or ():
            yield from self._choice(choice)
        if chunk.usage is not None:
            self.usage = chunk.usage.neutral()

    def finished(self) -> Finished:
        """Raises NodeFailed when the answer broke off before every choice had ended."""
        if self.reason is None or self._going:
            raise NodeFailed("the node's answer broke off before its end")
        usage = self.usage or Usage(completion_tokens=self.pieces, counted="estimate")
        return Finished(reason=self.reason, usage=usage)

    def _choice(self, choice: Choice) -> Iterator[Event]:
        at = choice.index
        if at not in self._ended:
            self._going.add(at)
        for event in self._delta(choice.delta, at) if choice.delta else ():
            self.pieces += 1
            yield event
        if choice.logprobs is not None and choice.logprobs.content:
            yield LogProbs(choice.logprobs.content, at)
        if choice.finish_reason and at not in self._ended:  # some servers say it twice
            yield self._end(choice.finish_reason, at)

    def _end(self, finish_reason: str, at: int) -> ChoiceEnded:
        if finish_reason == "error":  # OpenRouter's way of saying that its own node broke off
            raise NodeFailed("the node's answer broke off with an error")
        self._going.discard(at)
        self._ended.add(at)
        self.reason = STOP_REASONS.get(finish_reason, "end")
        return ChoiceEnded(self.reason, "", at)

    def _delta(self, delta: Delta, at: int) -> Iterator[Event]:
        if thought := delta.reasoning_content or delta.reasoning:
            yield Thinking(thought, at)
        if text := delta.content or delta.refusal:
            yield Text(text, at)
        if delta.tool_calls:
            calls = self._calls.get(at)
            if calls is None:
                calls = self._calls[at] = Calls(at, self._id)
            yield from calls.events(delta.tool_calls)


class Calls:
    """The tool calls of one choice.

    Fragments belong together by their index. Servers that send whole calls may give all of them
    the same index, or none; then another id, or another name in one delta, begins the next call.
    """

    def __init__(self, choice: int, answer_id: str) -> None:
        self._choice = choice
        self._answer_id = answer_id
        self._count = 0
        self._at: dict[int, tuple[int, str]] = {}  # the wire's index -> ours, and the call's id on the wire

    def events(self, delta: list[ToolCall]) -> Iterator[Event]:
        in_delta: set[int] = set()
        for call in delta:
            wire_index = call.index or 0
            known = self._at.get(wire_index)
            function = call.function or Function()
            if known is None or self._is_another(call, known[1], wire_index in in_delta):
                known = self._at[wire_index] = (self._count, call.id or "")
                self._count += 1
                yield ToolCallStarted(
                    known[0], call.id or self._made_up_id(known[0]), function.name or "", self._choice
                )
            in_delta.add(wire_index)
            if fragment := function.fragment:
                yield ToolCallArguments(known[0], fragment, self._choice)

    def _is_another(self, call: ToolCall, known_id: str, in_same_delta: bool) -> bool:
        if call.id and known_id:
            return call.id != known_id
        return in_same_delta and bool(call.function and call.function.name)

    def _made_up_id(self, index: int) -> str:
        return f"call_{self._answer_id}_{self._choice}_{index}"


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
