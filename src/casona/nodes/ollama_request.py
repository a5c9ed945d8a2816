"""A ChatRequest as the body of Ollama's /api/chat. Pure.

Source: Ollama docs/api.md, docs/openapi.yaml and api/types.go. What its API has no place for is
refused when the answer would be wrong without it, and told in a warning otherwise.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from casona.exchange.errors import BadRequest
from casona.exchange.request import (
    AudioPart,
    ChatRequest,
    DocumentPart,
    ImagePart,
    Output,
    Part,
    Reasoning,
    Sampling,
    TextPart,
    ThinkingPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Turn,
)
from casona.nodes import forced_call

Json = dict[str, Any]

EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}
"""How Ollama calls an effort; whatever is more than high is `high`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one model wants to be asked. `thinks` None when the node does not say."""

    context_tokens: int | None = None
    thinks: bool | None = None
    thinks_in_levels: bool = False


@dataclass(slots=True)
class Asking:
    """A body in the making, and a warning for each thing that has no place in it."""

    body: Json = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)


def body(request: ChatRequest, manner: Manner) -> Asking:
    """What to send; streamed, so that leaving early stops the node. Raises BadRequest.

    `truncate` is off: a prompt that does not fit is refused by the node instead of cut.
    """
    asking = Asking()
    _refuse_what_it_lacks(request, asking)
    found = asking.body
    found |= {"model": request.model, "messages": _messages(request, asking), "stream": True}
    found["truncate"] = False
    if options := _options(request, manner):
        found["options"] = options
    _add_tools_and_format(request, asking)
    _add_thinking(request.reasoning, manner, asking)
    if request.keep_alive:
        found["keep_alive"] = _keep_alive(request.keep_alive)
    if request.sampling.logprobs:
        found |= {"logprobs": True, "top_logprobs": request.sampling.top_logprobs or 0}
    _add_extras(request, asking)
    return asking


def _refuse_what_it_lacks(request: ChatRequest, asking: Asking) -> None:
    if request.sampling.n > 1:
        raise BadRequest("n: an Ollama node gives one choice at a time", param="n")
    if request.sampling.logit_bias:
        raise BadRequest("logit_bias: an Ollama node can't bias tokens", param="logit_bias")
    if request.parallel_tool_calls is False and request.tools:
        asking.warn("parallel_tool_calls: an Ollama node can't be held to one call at a time")
    if any(tool.strict for tool in request.tools) and not forced_call.is_forced(request.tool_choice):
        asking.warn("tools.function.strict: an Ollama node does not enforce it")


# --- messages


def _messages(request: ChatRequest, asking: Asking) -> list[Json]:
    messages: list[Json] = []
    if request.system:
        text = "\n\n".join(part.text for part in request.system)
        messages.append({"role": "system", "content": text})
    names: dict[str, str] = {}
    for turn in request.turns:
        if turn.name:
            asking.warn("messages.name: an Ollama node has no names for speakers, dropped")
        for part in turn.parts:
            if isinstance(part, ToolCallPart):
                names[part.id] = part.name
        messages += _turn(turn, names, asking)
    return messages


def _turn(turn: Turn, names: dict[str, str], asking: Asking) -> list[Json]:
    results = [part for part in turn.parts if isinstance(part, ToolResultPart)]
    messages = [_result(part, names, asking) for part in results]
    rest = [part for part in turn.parts if not isinstance(part, ToolResultPart)]
    if rest or not results:
        role = "assistant" if turn.role == "assistant" else "user"
        messages.append({"role": role} | _content(rest, asking))
    return messages


def _result(part: ToolResultPart, names: dict[str, str], asking: Asking) -> Json:
    """Ollama knows results by the tool's name; the call's id is newer and older servers ignore it."""
    name = part.name or names.get(part.call_id, "")
    about = {"tool_name": name} if name else {}
    return {"role": "tool"} | _content(part.parts, asking) | about | {"tool_call_id": part.call_id}


def _content(parts: Sequence[Part], asking: Asking) -> Json:
    texts: list[str] = []
    images: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for part in parts:
        match part:
            case TextPart(text=text):
                texts.append(text)
            case ImagePart():
                images.append(_image(part, asking))
            case ThinkingPart():
                thoughts.append(_thought(part, asking))
            case ToolCallPart():
                calls.append(_call(part, len(calls)))
            case DocumentPart():
                texts.append(_document(part))
            case AudioPart():
                raise BadRequest("messages: an Ollama node takes no audio", param="messages")
            case ToolResultPart():
                raise BadRequest("messages: a tool result can't stand inside another", param="messages")
    found: Json = {"content": ("" if calls or thoughts else "\n").join(texts)}
    named = {"images": images, "thinking": "".join(thoughts), "tool_calls": calls}
    return found | {name: value for name, value in named.items() if value}


def _image(part: ImagePart, asking: Asking) -> str:
    if part.url:
        raise BadRequest("messages: an Ollama node fetches no image URL; send a data: URL", param="messages")
    if part.detail not in {"", "auto"}:
        asking.warn("messages.image_url.detail: an Ollama node does not know it, dropped")
    return base64.b64encode(part.data).decode()


def _thought(part: ThinkingPart, asking: Asking) -> str:
    if part.redacted:
        asking.warn("messages.thinking: a sealed block means nothing to an Ollama node, dropped")
    return part.text


def _call(part: ToolCallPart, index: int) -> Json:
    """Ollama takes arguments as an object; the text passes as it is, key order and all."""
    arguments = part.arguments.strip() or "{}"
    try:
        msgspec.json.decode(arguments, type=dict)
    except (msgspec.MsgspecError, UnicodeEncodeError) as fault:
        raise BadRequest(
            f"messages: the arguments of tool call {part.id!r} are not a JSON object, which an Ollama "
            f"node needs: {fault}",
            param="messages",
        ) from fault
    function = {"index": index, "name": part.name, "arguments": msgspec.Raw(arguments.encode())}
    return ({"id": part.id} if part.id else {}) | {"function": function}


def _document(part: DocumentPart) -> str:
    if part.text:
        return part.text
    if part.data and part.media_type.startswith("text/"):
        return part.data.decode("utf-8", "replace")
    what = part.media_type or "a document"
    raise BadRequest(f"messages: an Ollama node can't read {what}; send its text", param="messages")


# --- how to answer


def _options(request: ChatRequest, manner: Manner) -> Json:
    sampling: Sampling = request.sampling
    found = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repeat_penalty": sampling.repeat_penalty,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "num_predict": request.output.max_tokens,
        "num_ctx": manner.context_tokens,
    }
    return {name: value for name, value in found.items() if value is not None}


def _add_tools_and_format(request: ChatRequest, asking: Asking) -> None:
    choice = request.tool_choice
    if request.tools and (choice is None or choice.mode != "none"):
        asking.body["tools"] = [_tool(tool) for tool in request.tools]
    if choice is not None and forced_call.is_forced(choice):
        asking.body["format"] = forced_call.schema(request.tools, choice)
    elif (form := _format(request.output)) is not None:
        asking.body["format"] = form


def _tool(tool: Tool) -> Json:
    parameters = tool.schema or {"type": "object", "properties": {}}
    described = {"description": tool.description} if tool.description else {}
    return {"type": "function", "function": {"name": tool.name} | described | {"parameters": parameters}}


def _format(output: Output) -> str | Json | None:
    if output.form == "schema":
        return output.schema or "json"
    return "json" if output.form == "json" else None


def _add_thinking(reasoning: Reasoning, manner: Manner, asking: Asking) -> None:
    if reasoning.budget_tokens is not None:
        asking.warn("reasoning.budget_tokens: an Ollama node has no budget for thinking, dropped")
    wanted = reasoning.effort or ("medium" if reasoning.budget_tokens else "")
    if not wanted:
        return
    if manner.thinks is False:  # it would refuse even to think about it
        if wanted != "none":
            asking.warn("reasoning_effort: this model does not think, dropped")
        return
    if wanted == "none":
        asking.body["think"] = False
        return
    level = EFFORTS.get(wanted, "high")
    asking.body["think"] = level if manner.thinks_in_levels else True
    if reasoning.effort and not manner.thinks_in_levels:
        asking.warn("reasoning_effort: this model thinks or does not, without levels")


def _keep_alive(text: str) -> str | int:
    """Ollama reads a bare number only as a number: seconds, -1 for ever."""
    return int(text) if text.lstrip("-").isdecimal() else text


def _add_extras(request: ChatRequest, asking: Asking) -> None:
    """Ollama's own fields go along, its options among the others; other vendors' are reported."""
    own = dict(request.extras.get("ollama", {}))
    if options := own.pop("options", None):
        asking.body["options"] = asking.body.get("options", {}) | options
    asking.body |= own
    for vendor, fields in request.extras.items():
        if vendor != "ollama":
            for name in fields:
                asking.warn(f"{name}: an Ollama node does not know it, dropped")
