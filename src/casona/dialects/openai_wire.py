"""OpenAI's chat completions request, as clients send it to POST /v1/chat/completions.

Source: OpenAI's openapi.yaml (openai/openai-openapi), CreateChatCompletionRequest, and what
the openai Python package 3.52 sends. `Gist` is what both lanes need and check; `Body` is all
of it, for the translate lane.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Whole = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Choices = Annotated[int, Meta(ge=1, le=128)]
ModelName = Annotated[str, Meta(min_length=1, max_length=512)]


class StreamOptions(Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class LoosePart(Struct):
    """`…_url` is an object with a `url`, or the URL itself: servers take both."""

    type: str
    text: str | None = None
    image_url: Any = None
    audio_url: Any = None
    video_url: Any = None

    @property
    def link(self) -> str:
        """The name of the field that a node would have to fetch from the network, or ""."""
        for name in ("image_url", "audio_url", "video_url"):
            found = getattr(self, name)
            url = found.get("url") if isinstance(found, dict) else found
            if isinstance(url, str) and not url[:5].lower().startswith("data:"):
                return name
        return ""


class LooseMessage(Struct):
    role: Role
    content: str | list[LoosePart] | None = None


class Gist(Struct):
    """What routing and checking need. Unknown fields pass; known ones must be right."""

    model: ModelName
    messages: Annotated[list[LooseMessage], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    n: Choices | None = None
    max_tokens: Whole | None = None
    max_completion_tokens: Whole | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logprobs: bool | None = None
    user: str | None = None


class TextPart(Struct, tag="text", tag_field="type"):
    text: str


class ImageUrl(Struct):
    url: str
    detail: str | None = None


class ImagePart(Struct, tag="image_url", tag_field="type"):
    image_url: ImageUrl


class Audio(Struct):
    data: str
    format: str


class AudioPart(Struct, tag="input_audio", tag_field="type"):
    input_audio: Audio


class File(Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Struct, tag="file", tag_field="type"):
    file: File


class RefusalPart(Struct, tag="refusal", tag_field="type"):
    refusal: str


Text = str | list[TextPart]


class Function(Struct):
    name: str
    arguments: str


class ToolCall(Struct):
    id: str
    function: Function
    type: Literal["function"] = "function"


class SystemMessage(Struct, tag="system", tag_field="role"):
    content: Text
    name: str | None = None


class DeveloperMessage(Struct, tag="developer", tag_field="role"):
    content: Text
    name: str | None = None


class UserMessage(Struct, tag="user", tag_field="role"):
    content: str | list[TextPart | ImagePart | AudioPart | FilePart]
    name: str | None = None


class AssistantMessage(Struct, tag="assistant", tag_field="role"):
    content: str | list[TextPart | RefusalPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class ToolMessage(Struct, tag="tool", tag_field="role"):
    content: str | list[TextPart | ImagePart]
    tool_call_id: str
    name: str | None = None


class FunctionMessage(Struct, tag="function", tag_field="role"):
    content: str | None
    name: str


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class FunctionTool(Struct):
    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct):
    function: FunctionTool
    type: Literal["function"] = "function"


class NamedFunction(Struct):
    name: str


class NamedChoice(Struct):
    function: NamedFunction
    type: Literal["function"] = "function"


class JsonSchema(Struct):
    name: str
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class TextFormat(Struct, tag="text", tag_field="type"):
    pass


class JsonFormat(Struct, tag="json_object", tag_field="type"):
    schema: dict[str, Any] | None = None  # llama.cpp and others take a schema here


class SchemaFormat(Struct, tag="json_schema", tag_field="type"):
    json_schema: JsonSchema


class Body(Struct):
    model: ModelName
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Whole | None = None
    min_p: Share | None = None
    n: Choices | None = None
    max_tokens: Whole | None = None
    max_completion_tokens: Whole | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: float | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    response_format: TextFormat | JsonFormat | SchemaFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None


GIST = msgspec.json.Decoder(Gist)
BODY = msgspec.json.Decoder(Body)
