"""OpenAI chat completions: neutral events in, answers and errors in OpenAI's shape out.

Source: OpenAI's openapi.yaml, CreateChatCompletionResponse and CreateChatCompletionStreamResponse.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from casona.exchange.errors import CasonaError, LimitReached, NodeRefused, NoNodeReady
from casona.exchange.events import (
    ChoiceEnded,
    Event,
    Finished,
    LogProbs,
    StopReason,
    Text,
    Thinking,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
)

FINISH_REASONS: dict[StopReason, str] = {
    "end": "stop",
    "length": "length",
    "tool": "tool_calls",
    "stop_sequence": "stop",
    "filtered": "content_filter",
    "refused": "content_filter",
}

ERROR_TYPES: dict[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

encode = msgspec.json.encode


def error_body(error: CasonaError) -> dict[str, Any]:
    kind = ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}


def error_headers(error: CasonaError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, LimitReached | NoNodeReady):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    elif isinstance(error, NodeRefused) and error.retry_after:
        headers["retry-after"] = error.retry_after
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def error_event(error: CasonaError) -> bytes:
    """After the first byte the status is spent, so the error travels in the stream."""
    return b"data: %b\n\n" % encode(error_body(error))


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class StreamEncoder:
    """Turns events into server-sent events; one encoder per answer."""

    def __init__(self, *, answer_id: str, model: str, created: int, wants_usage: bool) -> None:
        self.wants_usage = wants_usage
        head = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = b"data: " + encode(head)[:-1]
        self._greeted: set[int] = set()
        self._ended: set[int] = set()

    def event(self, event: Event) -> Iterator[bytes]:
        match event:
            case Text(text, choice):
                yield self._delta(choice, {"content": text})
            case Thinking(text, choice):
                yield self._delta(choice, {"reasoning_content": text})
            case ToolCallStarted(index, call_id, name, choice):
                function = {"name": name, "arguments": ""}
                call = {"index": index, "id": call_id, "type": "function", "function": function}
                yield self._delta(choice, {"tool_calls": [call]})
            case ToolCallArguments(index, fragment, choice):
                call = {"index": index, "function": {"arguments": fragment}}
                yield self._delta(choice, {"tool_calls": [call]})
            case LogProbs(entries, choice):
                yield self._delta(choice, {}, logprobs={"content": entries, "refusal": None})
            case ChoiceEnded(reason, _, choice):
                yield self._end(choice, reason)
            case Finished():
                yield from self._finish(event)

    def _finish(self, event: Finished) -> Iterator[bytes]:
        if not self._ended:
            yield self._end(0, event.reason)
        if self.wants_usage:
            rest = encode({"choices": [], "usage": usage_object(event.usage)})
            yield self._head + b"," + rest[1:] + b"\n\n"
        yield DONE

    def _end(self, choice: int, reason: StopReason) -> bytes:
        self._ended.add(choice)
        return self._delta(choice, {}, reason=FINISH_REASONS[reason])

    def _delta(
        self,
        choice: int,
        delta: dict[str, Any],
        *,
        logprobs: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> bytes:
        first = b""
        if choice not in self._greeted:
            # the official client takes a choice only after all those before it
            first = b"".join(self._delta(lower, {}) for lower in range(choice) if lower not in self._greeted)
            self._greeted.add(choice)
            delta = {"role": "assistant", "content": None} | delta
        entry = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return b'%b%b,"choices":[%b]}\n\n' % (first, self._head, encode(entry))


class WholeAnswer:
    """Gathers events into one chat.completion object."""

    def __init__(self, *, answer_id: str, model: str, created: int) -> None:
        self._head = {"id": answer_id, "object": "chat.completion", "created": created, "model": model}
        self._choices: dict[int, _Choice] = {}
        self._usage = Usage()

    def event(self, event: Event) -> None:
        match event:
            case Finished(reason=reason, usage=usage):
                self._usage = usage
                if not any(choice.reason for choice in self._choices.values()):
                    self._choice(0).reason = FINISH_REASONS[reason]
            case (
                Text(choice=at)
                | Thinking(choice=at)
                | ToolCallStarted(choice=at)
                | ToolCallArguments(choice=at)
                | LogProbs(choice=at)
                | ChoiceEnded(choice=at)
            ):
                self._choice(at).add(event)

    def encode(self) -> bytes:
        choices = [self._choices[at].rendered(at) for at in sorted(self._choices)]
        return encode({**self._head, "choices": choices, "usage": usage_object(self._usage)})

    def _choice(self, at: int) -> "_Choice":
        return self._choices.setdefault(at, _Choice())


class _Choice:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.logprobs: list[dict[str, Any]] = []
        self.reason = ""

    def add(self, event: Event) -> None:
        match event:
            case Text(text):
                self.text.append(text)
            case Thinking(text):
                self.thinking.append(text)
            case ToolCallStarted(index, call_id, name):
                function = {"name": name, "arguments": ""}
                self.calls[index] = {"id": call_id, "type": "function", "function": function}
            case ToolCallArguments(index, fragment):
                self.calls[index]["function"]["arguments"] += fragment
            case LogProbs(entries):
                self.logprobs += entries
            case ChoiceEnded(reason):
                self.reason = FINISH_REASONS[reason]

    def rendered(self, at: int) -> dict[str, Any]:
        text = "".join(self.text)
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if self.calls else "")}
        message["refusal"] = None
        if self.thinking:
            message["reasoning_content"] = "".join(self.thinking)
        if self.calls:
            message["tool_calls"] = [self.calls[index] for index in sorted(self.calls)]
        logprobs = {"content": self.logprobs, "refusal": None} if self.logprobs else None
        return {"index": at, "message": message, "logprobs": logprobs, "finish_reason": self.reason or "stop"}
