"""One chat request, in no vendor's words.

A field is here when two dialects or nodes carry it; what only one vendor knows stays in
`extras[vendor]`, used by that vendor's nodes and reported otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["user", "assistant", "tool"]
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    text: str
    cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """Exactly one of `data` (the bytes) and `url` is set."""

    media_type: str = ""
    data: bytes = b""
    url: str = ""
    detail: str = ""
    cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPart:
    data: bytes
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPart:
    """Exactly one of `data`, `text` and `url` is set."""

    media_type: str = ""
    data: bytes = b""
    text: str = ""
    url: str = ""
    title: str = ""
    cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallPart:
    """`arguments` is the JSON text as it came in, not parsed: nodes disagree on its key order."""

    id: str
    name: str
    arguments: str
    cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResultPart:
    call_id: str
    parts: tuple[TextPart | ImagePart | DocumentPart, ...]
    name: str = ""
    is_error: bool = False
    cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingPart:
    """`redacted` holds a vendor's sealed block; then `text` is empty."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


Part = TextPart | ImagePart | AudioPart | DocumentPart | ToolCallPart | ToolResultPart | ThinkingPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    role: Role
    parts: tuple[Part, ...]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    description: str = ""
    schema: JsonObject = field(default_factory=dict)
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """`name` is set when, and only when, `mode` is "one"."""

    mode: Literal["auto", "none", "required", "one"] = "auto"
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """None leaves a value to the node."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[str, float] = field(default_factory=dict)
    n: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """`max_tokens` counts generated tokens only. `schema` is set when `form` is "schema"."""

    max_tokens: int | None = None
    form: Literal["text", "json", "schema"] = "text"
    schema: JsonObject = field(default_factory=dict)
    schema_name: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """`effort` "" leaves it to the node; "none" switches thinking off."""

    effort: str = ""
    budget_tokens: int | None = None
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a caller asks of a model, whichever dialect carried it. `turns` is oldest first."""

    model: str
    system: tuple[TextPart, ...] = ()
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    sampling: Sampling = Sampling()
    output: Output = Output()
    reasoning: Reasoning = Reasoning()
    stream: bool = False
    context_tokens: int | None = None
    keep_alive: str = ""
    affinity: str = ""
    user: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    store: bool | None = None
    extras: Mapping[str, JsonObject] = field(default_factory=dict)
