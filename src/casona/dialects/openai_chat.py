"""OpenAI chat completions: a request body in, neutral words out.

Pure: bytes and values in, bytes and values out. The wire's types are in `openai_wire.py`, the
answers in `openai_answer.py`.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from casona.dialects import base, body, openai_answer
from casona.dialects import openai_wire as wire
from casona.exchange.errors import BadRequest, CasonaError
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
    ToolChoice,
    ToolResultPart,
    Turn,
)


@dataclass(slots=True)
class Asked:
    """A checked request body, not yet translated."""

    raw: bytes
    fields: body.Fields
    gist: wire.Gist

    @property
    def model(self) -> str:
        return self.gist.model

    @property
    def stream(self) -> bool:
        return bool(self.gist.stream)

    @property
    def wants_usage(self) -> bool:
        options = self.gist.stream_options
        return bool(options and options.include_usage)

    @property
    def link(self) -> str:
        for at, message in enumerate(self.gist.messages):
            if isinstance(message.content, list):
                for place, part in enumerate(message.content):
                    if name := part.link:
                        return f"messages[{at}].content[{place}].{name}"
        return ""

    def prompt_characters(self) -> int:
        texts = (message.content or "" for message in self.gist.messages)
        return sum(
            len(text) if isinstance(text, str) else sum(len(part.text or "") for part in text)
            for text in texts
        )

    def relayed(self, model: str) -> bytes:
        """The body for a node of the same dialect: its own name for the model, usage always asked for."""
        changed = self.fields | {"model": msgspec.Raw(msgspec.json.encode(model))}
        if self.stream:
            options = msgspec.json.decode(self.fields.get("stream_options", b"null")) or {}
            changed["stream_options"] = msgspec.Raw(msgspec.json.encode(options | {"include_usage": True}))
        return msgspec.json.encode(changed)

    def translated(self, model: str) -> tuple[ChatRequest, tuple[str, ...]]:
        """The request in neutral words, and a warning for each field that has none.

        Unknown top-level fields go along in `extras["openai"]`, which OpenAI-compatible nodes send on.
        """
        found = body.decode(wire.BODY, self.raw)
        values = body.values(self.fields)
        unknown = list(body.unknown(values, wire.Body))
        extras = {name: values[name] for name in unknown if name in values}
        request = ChatRequest(
            model=model,
            system=_system(found.messages),
            turns=_turns(found.messages),
            tools=tuple(_tool(tool) for tool in found.tools or ()),
            tool_choice=_choice(found.tool_choice),
            parallel_tool_calls=found.parallel_tool_calls,
            sampling=_sampling(found),
            output=_output(found),
            reasoning=Reasoning(effort=found.reasoning_effort or ""),
            stream=self.stream,
            affinity=found.prompt_cache_key or "",
            user=found.user or "",
            metadata=found.metadata or {},
            store=found.store,
            extras={"openai": extras} if extras else {},
        )
        lost = [path for path in unknown if path not in extras] + list(_lost(found))
        return request, tuple(f"{path}: not understood, dropped" for path in lost) + _moved(found.messages)


class OpenAIChat:
    """The dialect, as the life of a request sees it."""

    name = "openai.chat"
    path = "/chat/completions"
    stream_type = b"text/event-stream; charset=utf-8"
    ping = openai_answer.PING

    def read(self, raw: bytes) -> Asked:
        """Check a request body. Raises BadRequest, naming the field at fault."""
        fields = body.fields(raw)
        gist = body.decode(wire.GIST, raw)
        if gist.stream_options is not None and not gist.stream:
            raise BadRequest("stream_options: only allowed when stream is true", param="stream_options")
        return Asked(raw, fields, gist)

    def stream(self, asked: base.Asked, *, answer_id: str, created: int) -> openai_answer.StreamEncoder:
        return openai_answer.StreamEncoder(
            answer_id=answer_id, model=asked.model, created=created, wants_usage=asked.wants_usage
        )

    def whole(self, asked: base.Asked, *, answer_id: str, created: int) -> openai_answer.WholeAnswer:
        return openai_answer.WholeAnswer(answer_id=answer_id, model=asked.model, created=created)

    def error_body(self, error: CasonaError) -> bytes:
        return msgspec.json.encode(openai_answer.error_body(error))

    def error_headers(self, error: CasonaError) -> dict[str, str]:
        return openai_answer.error_headers(error)

    def error_event(self, error: CasonaError) -> bytes:
        return openai_answer.error_event(error)


def _lost(found: wire.Body) -> Iterator[str]:
    """What is checked but has no neutral word."""
    if isinstance(found.response_format, wire.SchemaFormat) and found.response_format.json_schema.description:
        yield "response_format.json_schema.description"
    for at, message in enumerate(found.messages):
        if isinstance(message, wire.SystemMessage | wire.DeveloperMessage) and message.name:
            yield f"messages[{at}].name"


def _moved(messages: list[wire.Message]) -> tuple[str, ...]:
    """A warning for each system message that is no longer one."""
    spoken = False
    warnings: list[str] = []
    for at, message in enumerate(messages):
        if not isinstance(message, wire.SystemMessage | wire.DeveloperMessage):
            spoken = True
        elif spoken:
            warnings.append(
                f"messages[{at}]: a {_role(message)} message after the beginning, sent as the user's"
            )
    return tuple(warnings)


def _role(message: wire.SystemMessage | wire.DeveloperMessage) -> str:
    return "system" if isinstance(message, wire.SystemMessage) else "developer"


def _system(messages: list[wire.Message]) -> tuple[TextPart, ...]:
    """The system and developer messages before the conversation."""
    parts: list[TextPart] = []
    for message in messages:
        if not isinstance(message, wire.SystemMessage | wire.DeveloperMessage):
            break
        parts += [TextPart(text=text) for text in _texts(message.content)]
    return tuple(parts)


def _turns(messages: list[wire.Message]) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for at, message in enumerate(messages):
        if isinstance(message, wire.SystemMessage | wire.DeveloperMessage):
            if turns:  # a system message in mid-conversation keeps its place, as the user's words
                turns.append(Turn(role="user", parts=_text_parts(message.content)))
        else:
            turns.append(_turn(message, f"messages[{at}]"))
    return tuple(turns)


def _turn(
    message: wire.UserMessage | wire.AssistantMessage | wire.ToolMessage | wire.FunctionMessage, where: str
) -> Turn:
    match message:
        case wire.UserMessage():
            return Turn(role="user", parts=_user_parts(message, where), name=message.name or "")
        case wire.AssistantMessage():
            return Turn(role="assistant", parts=_assistant_parts(message, where), name=message.name or "")
        case wire.ToolMessage():
            result = ToolResultPart(
                call_id=message.tool_call_id, parts=_result_parts(message, where), name=message.name or ""
            )
            return Turn(role="tool", parts=(result,))
        case wire.FunctionMessage():
            text_part = TextPart(text=message.content or "")
            legacy = ToolResultPart(call_id=message.name, parts=(text_part,), name=message.name)
            return Turn(role="tool", parts=(legacy,))


def _user_parts(message: wire.UserMessage, where: str) -> tuple[Part, ...]:
    if isinstance(message.content, str):
        return (TextPart(text=message.content),)
    return tuple(_part(part, f"{where}.content[{at}]") for at, part in enumerate(message.content))


def _assistant_parts(message: wire.AssistantMessage, where: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    if thought := message.reasoning_content or message.reasoning:
        parts.append(ThinkingPart(text=thought))
    if isinstance(message.content, str):
        parts += [TextPart(text=message.content)] if message.content else []
    else:
        for part in message.content or ():
            parts.append(TextPart(text=part.text if isinstance(part, wire.TextPart) else part.refusal))
    if message.refusal:
        parts.append(TextPart(text=message.refusal))
    for call in message.tool_calls or ():
        parts.append(ToolCallPart(id=call.id, name=call.function.name, arguments=call.function.arguments))
    if legacy := message.function_call:
        parts.append(ToolCallPart(id=legacy.name, name=legacy.name, arguments=legacy.arguments))
    if not parts and message.content is None:
        raise BadRequest(f"{where}: an assistant message needs content or tool_calls", param=where)
    return tuple(parts)


def _result_parts(message: wire.ToolMessage, where: str) -> tuple[TextPart | ImagePart, ...]:
    if isinstance(message.content, str):
        return (TextPart(text=message.content),)
    return tuple(
        TextPart(text=part.text)
        if isinstance(part, wire.TextPart)
        else _image(part.image_url, f"{where}.content[{at}].image_url")
        for at, part in enumerate(message.content)
    )


def _part(part: wire.TextPart | wire.ImagePart | wire.AudioPart | wire.FilePart, where: str) -> Part:
    match part:
        case wire.TextPart(text=text):
            return TextPart(text=text)
        case wire.ImagePart(image_url=image):
            return _image(image, f"{where}.image_url")
        case wire.AudioPart(input_audio=audio):
            return AudioPart(data=_bytes(audio.data, f"{where}.input_audio.data"), format=audio.format)
        case wire.FilePart(file=file):
            return _document(file, f"{where}.file")


def _image(image: wire.ImageUrl, where: str) -> ImagePart:
    detail = image.detail or ""
    if image.url.startswith("data:"):
        media_type, data = _data_url(image.url, f"{where}.url")
        return ImagePart(media_type=media_type, data=data, detail=detail)
    if image.url.startswith(("http://", "https://")):
        return ImagePart(url=image.url, detail=detail)
    raise BadRequest(f"{where}.url: needs a data: or https: URL", param=f"{where}.url")


def _document(file: wire.File, where: str) -> DocumentPart:
    if file.file_id is not None:
        raise BadRequest(
            f"{where}.file_id: this server keeps no files; send file_data", param=f"{where}.file_id"
        )
    if file.file_data is None:
        raise BadRequest(f"{where}.file_data: this field is required", param=f"{where}.file_data")
    media_type, data = _data_url(file.file_data, f"{where}.file_data")
    return DocumentPart(media_type=media_type, data=data, title=file.filename or "")


def _data_url(url: str, where: str) -> tuple[str, bytes]:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise BadRequest(f"{where}: needs data:MEDIA_TYPE;base64,DATA", param=where)
    return head[5:-7], _bytes(data, where)


def _bytes(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise BadRequest(f"{where}: is not base64: {fault}", param=where) from fault


def _texts(content: wire.Text) -> list[str]:
    return [content] if isinstance(content, str) else [part.text for part in content]


def _text_parts(content: wire.Text) -> tuple[TextPart, ...]:
    return tuple(TextPart(text=text) for text in _texts(content))


def _tool(tool: wire.Tool) -> Tool:
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description or "",
        schema=function.parameters or {},
        strict=function.strict,
    )


def _choice(choice: Any) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, wire.NamedChoice):
        return ToolChoice(mode="one", name=choice.function.name)
    return ToolChoice(mode=choice)


def _sampling(found: wire.Body) -> Sampling:
    stop = (found.stop,) if isinstance(found.stop, str) else tuple(found.stop or ())
    return Sampling(
        temperature=found.temperature,
        top_p=found.top_p,
        top_k=found.top_k,
        min_p=found.min_p,
        presence_penalty=found.presence_penalty,
        frequency_penalty=found.frequency_penalty,
        repeat_penalty=found.repeat_penalty,
        seed=found.seed,
        stop=stop,
        logit_bias=found.logit_bias or {},
        n=found.n or 1,
        logprobs=bool(found.logprobs),
        top_logprobs=found.top_logprobs,
    )


def _output(found: wire.Body) -> Output:
    limit = found.max_completion_tokens if found.max_completion_tokens is not None else found.max_tokens
    match found.response_format:
        case wire.SchemaFormat(json_schema=wanted):
            return Output(
                max_tokens=limit,
                form="schema",
                schema=wanted.schema or {},
                schema_name=wanted.name,
                strict=wanted.strict,
            )
        case wire.JsonFormat(schema=dict(schema)):
            return Output(max_tokens=limit, form="schema", schema=schema, schema_name="answer")
        case wire.JsonFormat():
            return Output(max_tokens=limit, form="json")
        case _:
            return Output(max_tokens=limit)
