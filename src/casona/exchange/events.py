"""What a node says back: content in any order, then exactly one Finished."""

from dataclasses import dataclass
from typing import Any, Literal

StopReason = Literal["end", "length", "tool", "stop_sequence", "filtered", "refused"]
Counted = Literal["node", "tokenizer", "estimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens. `prompt_tokens` includes what was read from the cache; `counted` says who counted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    reasoning_tokens: int = 0
    counted: Counted = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The node has begun; `model` is the name it gave, `id` its own id, both may be empty.

    `queued_s` is how long the request waited in the house for the model to be ready,
    `prompt_tokens` the prompt's length where the node tells it before the end.
    """

    model: str = ""
    id: str = ""
    queued_s: float = 0.0
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer; any length, never empty."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Thinking:
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ThinkingSigned:
    signature: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Redacted:
    data: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """`index` numbers the calls of one choice from 0."""

    index: int
    id: str
    name: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """A fragment of the arguments' JSON text; may be cut anywhere, never empty."""

    index: int
    fragment: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation of the text just sent, in the node's own words."""

    citation: dict[str, Any]
    choice: int = 0


@dataclass(frozen=True, slots=True)
class LogProbs:
    """OpenAI's `logprobs.content` entries for the text just sent: token, logprob, bytes, top_logprobs."""

    entries: list[dict[str, Any]]
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Warned:
    """Something was changed or dropped on the way; shown in x-casona-warning and the log."""

    message: str


@dataclass(frozen=True, slots=True)
class ChoiceEnded:
    """One choice of several has ended; the exchange goes on until Finished."""

    reason: StopReason
    matched_stop: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event. `reason` is that of the last choice to end."""

    reason: StopReason
    usage: Usage
    matched_stop: str = ""


Event = (
    Started
    | Text
    | Thinking
    | ThinkingSigned
    | Redacted
    | ToolCallStarted
    | ToolCallArguments
    | Cited
    | LogProbs
    | Warned
    | ChoiceEnded
    | Finished
)
