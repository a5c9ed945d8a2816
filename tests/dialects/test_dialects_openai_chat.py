"""OpenAI chat: bodies into neutral words, events into golden bytes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from casona.dialects.openai_chat import OpenAIChat
from casona.dialects.openai_wire import Body
from casona.exchange.errors import BadRequest, LimitReached, PromptTooLong
from casona.exchange.events import (
    ChoiceEnded,
    Event,
    Finished,
    LogProbs,
    Text,
    Thinking,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
)
from casona.exchange.request import (
    AudioPart,
    ChatRequest,
    DocumentPart,
    ImagePart,
    Output,
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

DIALECT = OpenAIChat()
FINE = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
USAGE = Usage(prompt_tokens=11, completion_tokens=3, cached_tokens=4, reasoning_tokens=1)


def translated(**body: Any) -> tuple[ChatRequest, tuple[str, ...]]:
    asked = DIALECT.read(
        json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | body).encode()
    )
    return asked.translated("real")


def streamed(*events: Event, wants_usage: bool = False) -> str:
    options = {"include_usage": wants_usage}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": options,
    }
    asked = DIALECT.read(json.dumps(body).encode())
    encoder = DIALECT.stream(asked, answer_id="chatcmpl-1", created=7)
    return b"".join(piece for event in events for piece in encoder.event(event)).decode()


def whole(*events: Event) -> dict[str, Any]:
    asked = DIALECT.read(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    answer = DIALECT.whole(asked, answer_id="chatcmpl-1", created=7)
    for event in events:
        answer.event(event)
    found: dict[str, Any] = json.loads(answer.encode())
    return found


def test_a_conversation_with_everything_in_it() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "And kind."}]},
        {
            "role": "user",
            "name": "ana",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {
                    "type": "file",
                    "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b":1,"a":2}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "system", "content": "Now in Spanish."},
    ]
    request, warnings = translated(messages=messages)
    assert warnings == ("messages[5]: a system message after the beginning, sent as the user's",)
    assert request.system == (TextPart(text="Be brief."), TextPart(text="And kind."))
    assert request.turns == (
        Turn(
            role="user",
            name="ana",
            parts=(
                TextPart(text="Look"),
                ImagePart(media_type="image/png", data=b"\x89PN"[:3], detail="low"),
                ImagePart(url="https://example.org/a.png"),
                AudioPart(data=b"\0\0\0", format="wav"),
                DocumentPart(media_type="application/pdf", data=b"%PD", title="a.pdf"),
            ),
        ),
        Turn(
            role="assistant",
            parts=(
                ThinkingPart(text="hm"),
                TextPart(text="Let me see."),
                ToolCallPart(id="c1", name="f", arguments='{"b":1,"a":2}'),
            ),
        ),
        Turn(role="tool", parts=(ToolResultPart(call_id="c1", parts=(TextPart(text="42"),)),)),
        Turn(role="user", parts=(TextPart(text="Now in Spanish."),)),
    )


def test_every_field_finds_its_neutral_word() -> None:
    schema = {"type": "object"}
    request, warnings = translated(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        n=2,
        max_completion_tokens=9,
        presence_penalty=1,
        frequency_penalty=-1,
        seed=3,
        stop=["a", "b"],
        logprobs=True,
        top_logprobs=2,
        logit_bias={"5": 1},
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": schema, "strict": True},
        },
        tools=[
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": schema, "strict": True},
            }
        ],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        reasoning_effort="low",
        prompt_cache_key="k",
        user="u",
        metadata={"a": "b"},
        store=False,
    )
    assert warnings == ()
    assert request == ChatRequest(
        model="real",
        turns=(Turn(role="user", parts=(TextPart(text="hi"),)),),
        tools=(Tool(name="f", description="d", schema=schema, strict=True),),
        tool_choice=ToolChoice(mode="one", name="f"),
        parallel_tool_calls=False,
        sampling=Sampling(
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            min_p=0.1,
            presence_penalty=1,
            frequency_penalty=-1,
            seed=3,
            stop=("a", "b"),
            logit_bias={"5": 1},
            n=2,
            logprobs=True,
            top_logprobs=2,
        ),
        output=Output(max_tokens=9, form="schema", schema=schema, schema_name="s", strict=True),
        reasoning=Reasoning(effort="low"),
        affinity="k",
        user="u",
        metadata={"a": "b"},
        store=False,
    )


def test_unknown_fields_go_along_at_the_top_and_are_reported_below() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "hi", "shade": 1}], "mood": "good"}
    request, warnings = translated(messages=[message], grammar="root ::= 'a'", mirostat=2)
    assert request.extras == {"openai": {"grammar": "root ::= 'a'", "mirostat": 2}}
    assert set(warnings) == {
        "messages[0].content[0].shade: not understood, dropped",
        "messages[0].mood: not understood, dropped",
    }


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
            "image_url.url: needs a data: or https: URL",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%"}},
            "image_url.url: is not base64",
        ),
        ({"type": "image_url", "image_url": {"url": "data:image/png"}}, "needs data:MEDIA_TYPE;base64,DATA"),
        ({"type": "file", "file": {"file_id": "f1"}}, "file.file_id: this server keeps no files"),
        ({"type": "hologram"}, "messages[0].content[0].type: invalid value 'hologram'"),
    ],
)
def test_a_part_that_cannot_be_read_is_named(part: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        translated(messages=[{"role": "user", "content": [part]}])
    assert message in str(refused.value)
    assert str(refused.value).startswith("messages[0].content[0]")


@pytest.mark.parametrize("number", ["1e999", "9" * 5000])
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"m","messages":[{"role":"user","content":"hi"}],"future":[%b]}', "future"),
        (b'{"model":"m","messages":[{"role":"user","content":"hi","x":%b}]}', "messages"),
    ],
)
def test_a_number_beyond_all_bounds_is_refused_by_its_fields_name(
    body: bytes, param: str, number: str
) -> None:
    with pytest.raises(BadRequest, match=rf"^{param}: .* out of range$") as refused:
        DIALECT.read(body % number.encode()).translated("real")
    assert refused.value.param == param


def test_what_has_no_neutral_word_is_told() -> None:
    _, warnings = translated(
        messages=[{"role": "system", "name": "boss", "content": "a"}, {"role": "user", "content": "b"}],
        response_format={"type": "json_schema", "json_schema": {"name": "s", "description": "d"}},
    )
    assert warnings == (
        "response_format.json_schema.description: not understood, dropped",
        "messages[0].name: not understood, dropped",
    )


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from([*Body.__struct_fields__, "tools", "metadata", "x\ud800", "\0"])


@given(st.dictionaries(fields, any_json, max_size=4), st.booleans())
def test_any_body_is_read_or_refused(change: dict[str, Any], keep: bool) -> None:
    body = json.loads(FINE) | change if keep else change
    try:
        asked = DIALECT.read(json.dumps(body).encode())
        assert json.loads(asked.relayed("real"))["model"] == "real"
        asked.translated("real")
    except BadRequest as refused:
        str(refused).encode()


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_are_read_or_refused(noise: bytes, at: int) -> None:
    for raw in (noise, FINE[:at] + noise + FINE[at:], FINE[:at] + noise):
        try:
            DIALECT.read(raw).translated("real")
        except BadRequest as refused:
            str(refused).encode()


def test_a_relayed_body_keeps_every_field_and_takes_the_nodes_name() -> None:
    raw = (
        b'{"model":"a","model":"alias","messages":[{"role":"user","content":"hi"}],'
        b'"future":{"x":[1,2.50]},"stream":true}'
    )
    body = DIALECT.read(raw).relayed("llama3:8b")
    assert body == (
        b'{"model":"llama3:8b","messages":[{"role":"user","content":"hi"}],"future":{"x":[1,2.50]},'
        b'"stream":true,"stream_options":{"include_usage":true}}'
    )


def test_a_short_stream_in_golden_bytes() -> None:
    head = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m"'
    assert streamed(Text("Hé"), Finished(reason="end", usage=USAGE), wants_usage=True).split("\n\n") == [
        f'data: {head},"choices":[{{"index":0,"delta":{{"role":"assistant","content":"Hé"}},'
        '"logprobs":null,"finish_reason":null}]}',
        f'data: {head},"choices":[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"stop"}}]}}',
        f'data: {head},"choices":[],"usage":{{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14,'
        '"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}',
        "data: [DONE]",
        "",
    ]


def test_a_whole_answer_with_thinking_and_two_tools() -> None:
    found = whole(
        Thinking("hm"),
        Text("a"),
        ToolCallStarted(0, "c0", "f"),
        ToolCallStarted(1, "c1", "g"),
        ToolCallArguments(1, '{"x"'),
        ToolCallArguments(0, "{}"),
        ToolCallArguments(1, ":1}"),
        Finished(reason="tool", usage=USAGE),
    )
    assert found["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "a",
                "refusal": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "c0", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "c1", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ]


pieces = st.one_of(
    st.builds(Text, st.text(min_size=1), st.integers(0, 1)),
    st.builds(Thinking, st.text(min_size=1), st.integers(0, 1)),
    st.builds(LogProbs, st.just([{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}])),
)
ends = st.sampled_from(["end", "length", "filtered"])


@given(st.lists(pieces, max_size=12), ends)
def test_any_stream_gathered_by_the_official_client_is_the_whole_answer(
    told: list[Event], reason: Any
) -> None:
    choices = sorted({getattr(event, "choice", 0) for event in told} | {0})
    events = [*told, *(ChoiceEnded(reason, "", at) for at in choices), Finished(reason=reason, usage=USAGE)]
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for event in streamed(*events, wants_usage=True).split("\n\n")[:-2]:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(event.removeprefix("data: ")))
    gathered = state.current_completion_snapshot
    expected = ChatCompletion.model_validate(whole(*events))
    assert gathered.usage == expected.usage
    for ours, theirs in zip(gathered.choices, expected.choices, strict=True):
        assert (ours.message.content or "") == (theirs.message.content or "")
        assert getattr(ours.message, "reasoning_content", None) == getattr(
            theirs.message, "reasoning_content", None
        )
        assert ours.finish_reason == theirs.finish_reason
        assert bool(ours.logprobs) == bool(theirs.logprobs)


def test_errors_in_openai_words() -> None:
    error = PromptTooLong(prompt_tokens=9000, context_tokens=8192)
    assert msgspec.json.decode(DIALECT.error_body(error)) == {
        "error": {
            "message": "the prompt has 9000 tokens and this model's context holds 8192; "
            "shorten the prompt or raise engine.context",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
    }
    assert DIALECT.error_headers(LimitReached("slow down", retry_after_s=2.4)) == {"retry-after": "2"}
    assert DIALECT.error_event(LimitReached("slow", retry_after_s=1)).startswith(
        b'data: {"error":{"message":"slow"'
    )
