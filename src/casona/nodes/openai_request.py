"""A ChatRequest as the body of an OpenAI-compatible node's chat completion. Pure."""

import base64
from collections.abc import Sequence
from typing import Any

from casona.exchange.errors import BadRequest
from casona.exchange.request import (
    AudioPart,
    ChatRequest,
    DocumentPart,
    ImagePart,
    Output,
    Part,
    Sampling,
    TextPart,
    ThinkingPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
)
from casona.nodes.rows import Row

Json = dict[str, Any]


def body(request: ChatRequest, row: Row) -> Json:
    """The JSON object to send; streamed, so that leaving early stops the node."""
    found: Json = {"model": request.model, "messages": _messages(request), "stream": True}
    if row.usage_in_stream:
        found["stream_options"] = {"include_usage": True}
    found |= _sampling(request.sampling, row) | _output(request.output, row) | _tools(request)
    if request.reasoning.effort:
        found["reasoning_effort"] = request.reasoning.effort
    if request.user:
        found["user"] = request.user
    return found | request.extras.get("openai", {})


def dropped(request: ChatRequest, row: Row) -> list[str]:
    """A warning for each thing that the body has no place for."""
    found = [] if row.vendor_sampling else list(_vendor_sampling(request.sampling))
    if request.reasoning.budget_tokens is not None:
        found.append("reasoning.budget_tokens")
    unsent = {
        "metadata": request.metadata,
        "store": request.store is not None,
        "prompt_cache_key": request.affinity,
        "reasoning.summary": request.reasoning.summary,
    }
    found += [name for name, given in unsent.items() if given]
    parts = [part for turn in request.turns for part in turn.parts]
    if any(isinstance(part, ThinkingPart) and part.redacted for part in parts):
        found.append("messages.thinking (sealed)")
    for vendor, fields in request.extras.items():
        found += fields if vendor != "openai" else ()
    return [f"{name}: this node does not know it, dropped" for name in found]


def _messages(request: ChatRequest) -> list[Json]:
    messages: list[Json] = []
    if request.system:
        text = "\n\n".join(part.text for part in request.system)
        messages.append({"role": "system", "content": text})
    for turn in request.turns:
        messages += _turn(turn)
    return messages


def _turn(turn: Turn) -> list[Json]:
    results = [part for part in turn.parts if isinstance(part, ToolResultPart)]
    messages = [_result(part) for part in results]
    rest = [part for part in turn.parts if not isinstance(part, ToolResultPart)]
    if rest or not results:
        own = _assistant(rest) if turn.role == "assistant" else {"role": "user", "content": _content(rest)}
        messages.append(own | ({"name": turn.name} if turn.name else {}))
    return messages


def _assistant(parts: Sequence[Part]) -> Json:
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    thoughts = "".join(part.text for part in parts if isinstance(part, ThinkingPart))
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in parts
        if isinstance(part, ToolCallPart)
    ]
    message: Json = {"role": "assistant", "content": text if text or not calls else None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _result(part: ToolResultPart) -> Json:
    return {"role": "tool", "tool_call_id": part.call_id, "content": _content(part.parts)}


def _content(parts: Sequence[Part]) -> str | list[Json]:
    if all(isinstance(part, TextPart) for part in parts):
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
    return [_part(part) for part in parts]


def _part(part: Part) -> Json:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart():
            url = part.url or f"data:{part.media_type};base64,{_base64(part.data)}"
            return {"type": "image_url", "image_url": {"url": url} | _unless_empty(detail=part.detail)}
        case AudioPart(data=data, format=form):
            return {"type": "input_audio", "input_audio": {"data": _base64(data), "format": form}}
        case DocumentPart(text=text) if text:
            return {"type": "text", "text": text}
        case DocumentPart():
            file = f"data:{part.media_type};base64,{_base64(part.data)}"
            return {"type": "file", "file": {"file_data": file} | _unless_empty(filename=part.title)}
        case _:
            raise BadRequest(f"a {type(part).__name__} can't stand in this place of a conversation")


def _vendor_sampling(sampling: Sampling) -> Json:
    """What is not OpenAI's but most servers take."""
    found = {"top_k": sampling.top_k, "min_p": sampling.min_p, "repeat_penalty": sampling.repeat_penalty}
    return {name: value for name, value in found.items() if value is not None}


def _sampling(sampling: Sampling, row: Row) -> Json:
    found = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "logit_bias": dict(sampling.logit_bias) or None,
        "n": sampling.n if sampling.n > 1 else None,
        "logprobs": sampling.logprobs or None,
        "top_logprobs": sampling.top_logprobs,
    }
    found |= _vendor_sampling(sampling) if row.vendor_sampling else {}
    return {name: value for name, value in found.items() if value is not None}


def _output(output: Output, row: Row) -> Json:
    found: Json = {}
    if output.max_tokens is not None:
        found[row.limit_field] = output.max_tokens
    if output.form == "json":
        found["response_format"] = {"type": "json_object"}
    elif output.form == "schema":
        wanted: Json = {"name": output.schema_name or "answer", "schema": output.schema}
        wanted |= {} if output.strict is None else {"strict": output.strict}
        found["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return found


def _tools(request: ChatRequest) -> Json:
    found: Json = {}
    if request.tools:
        found["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        found["tool_choice"] = _choice(request.tool_choice)
    if request.parallel_tool_calls is not None:
        found["parallel_tool_calls"] = request.parallel_tool_calls
    return found


def _tool(tool: Tool) -> Json:
    function: Json = {"name": tool.name, "parameters": tool.schema or {"type": "object", "properties": {}}}
    function |= _unless_empty(description=tool.description)
    function |= {} if tool.strict is None else {"strict": tool.strict}
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> str | Json:
    if choice.mode == "one":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unless_empty(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
