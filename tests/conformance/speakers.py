"""How each kind of node says the same things on the wire, and how to connect to it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from tests.nodes import ollama_server

from casona.exchange.events import (
    ChoiceEnded,
    Event,
    Text,
    Thinking,
    ToolCallArguments,
    Usage,
)
from casona.exchange.zones import Zone
from casona.nodes import ollama, openai
from casona.nodes.base import Node
from casona.settings import Node as Described
from casona.settings import NodeKind, Timeouts


class Speaker(Protocol):
    """Bytes of one kind of node; every method gives one event or line, or several."""

    path: str

    def connect(self, url: str, **timeouts: Any) -> Node: ...
    def thinking(self, text: str) -> bytes: ...
    def text(self, text: str) -> bytes: ...
    def call(self, index: int, call_id: str, name: str, arguments: str) -> bytes: ...
    def end(self, reason: str, usage: Usage | None) -> bytes: ...
    def error(self, words: str) -> bytes: ...
    def refusal(self, words: str) -> bytes: ...


class OpenAISpeaker:
    path = "/v1/chat/completions"

    def __init__(
        self, kind: NodeKind, *, line_end: str = "\n", done: bool = True, spaced: bool = False
    ) -> None:
        self.kind = kind
        self.line_end = line_end
        self.done = done
        self.separators = (", ", ": ") if spaced else (",", ":")

    def connect(self, url: str, **timeouts: Any) -> Node:
        described = Described(name="box", kind=self.kind, url=url)
        return openai.connect(described, Zone.PRIVATE, Timeouts(**timeouts))

    def event(self, **fields: Any) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        text = json.dumps(head | fields, ensure_ascii=False, separators=self.separators)
        return f"data: {text}{self.line_end * 2}".encode()

    def delta(self, reason: str | None = None, **delta: Any) -> bytes:
        return self.event(choices=[{"index": 0, "delta": delta, "finish_reason": reason}])

    def thinking(self, text: str) -> bytes:
        return self.delta(reasoning_content=text)

    def text(self, text: str) -> bytes:
        return self.delta(content=text)

    def call(self, index: int, call_id: str, name: str, arguments: str) -> bytes:
        """Its arguments one character at a time, as vLLM may send them."""
        function = {"name": name, "arguments": ""}
        first = {"index": index, "id": call_id, "type": "function", "function": function}
        rest = [{"index": index, "function": {"arguments": character}} for character in arguments]
        return b"".join(self.delta(tool_calls=[part]) for part in (first, *rest))

    def end(self, reason: str, usage: Usage | None) -> bytes:
        events = [self.delta({"end": "stop", "length": "length", "tool": "tool_calls"}[reason])]
        if usage is not None:
            counts: dict[str, Any] = {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            }
            events.append(self.event(choices=[], usage=counts))
        if self.done:
            events.append(f"data: [DONE]{self.line_end * 2}".encode())
        return b"".join(events)

    def error(self, words: str) -> bytes:
        return self.event(error={"message": words, "type": "server_error"})

    def refusal(self, words: str) -> bytes:
        return json.dumps({"error": {"message": words}}).encode()


class OllamaSpeaker:
    path = "/api/chat"

    def connect(self, url: str, **timeouts: Any) -> Node:
        described = Described(name="box", kind=NodeKind.OLLAMA, url=url)
        return ollama.connect(described, Zone.PRIVATE, Timeouts(**timeouts))

    def thinking(self, text: str) -> bytes:
        return ollama_server.says(thinking=text)

    def text(self, text: str) -> bytes:
        return ollama_server.says(text)

    def call(self, index: int, call_id: str, name: str, arguments: str) -> bytes:
        return ollama_server.calls(name, json.loads(arguments), id=call_id)

    def end(self, reason: str, usage: Usage | None) -> bytes:
        counts = (
            {"prompt_eval_count": None, "eval_count": None}
            if usage is None
            else {"prompt_eval_count": usage.prompt_tokens, "eval_count": usage.completion_tokens}
        )
        return ollama_server.done("length" if reason == "length" else "stop", **counts)

    def error(self, words: str) -> bytes:
        return json.dumps({"error": words}).encode() + b"\n"

    def refusal(self, words: str) -> bytes:
        return json.dumps({"error": words}).encode()


SPEAKERS: dict[str, Speaker] = {
    **{f"{kind.value} row": OpenAISpeaker(kind) for kind in NodeKind if kind is not NodeKind.OLLAMA},
    "openai with CRLF": OpenAISpeaker(NodeKind.OPENAI, line_end="\r\n"),
    "openai without [DONE]": OpenAISpeaker(NodeKind.OPENAI, done=False),
    "openai with spaces": OpenAISpeaker(NodeKind.OPENAI, spaced=True),
    "ollama": OllamaSpeaker(),
}


def joined(events: Sequence[Event]) -> list[Event]:
    """Pieces of one text as one event, and without the ends of single choices, which Finished repeats."""
    return list(_joined(event for event in events if not isinstance(event, ChoiceEnded)))


def _joined(events: Iterator[Event]) -> Iterator[Event]:
    last: Event | None = None
    for event in events:
        match last, event:
            case (Text(before), Text(after)):
                last = Text(before + after)
            case (Thinking(before), Thinking(after)):
                last = Thinking(before + after)
            case (ToolCallArguments(index, before), ToolCallArguments(same, after)) if index == same:
                last = ToolCallArguments(index, before + after)
            case _:
                if last is not None:
                    yield last
                last = event
    if last is not None:
        yield last
