"""A neutral request as the body of an OpenAI-compatible node's chat completion."""

from typing import Any

import pytest

from casona.exchange.errors import BadRequest
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
from casona.nodes.openai_request import body, dropped
from casona.nodes.rows import ROWS
from casona.settings import NodeKind

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
HELLO = Turn(role="user", parts=(TextPart(text="Hello"),))


def sent(kind: NodeKind = NodeKind.VLLM, **fields: Any) -> dict[str, Any]:
    return body(ChatRequest(**({"model": "m", "turns": (HELLO,)} | fields)), ROWS[kind])


def test_a_plain_question_is_streamed_and_counted() -> None:
    assert sent() == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_round_with_tools() -> None:
    call = ToolCallPart(id="call_1", name="weather", arguments='{"city":  "Ávila"}')
    turns = (
        Turn(role="user", parts=(TextPart(text="Hi"),), name="Ana"),
        Turn(role="assistant", parts=(ThinkingPart(text="Hm."), call)),
        Turn(role="tool", parts=(ToolResultPart(call_id="call_1", parts=(TextPart(text="sunny"),)),)),
        Turn(role="assistant", parts=(TextPart(text="It is "), TextPart(text="sunny."))),
    )
    function = {"name": "weather", "arguments": '{"city":  "Ávila"}'}
    assert sent(system=(TextPart(text="Be"), TextPart(text="brief")), turns=turns)["messages"] == [
        {"role": "system", "content": "Be\n\nbrief"},
        {"role": "user", "content": "Hi", "name": "Ana"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]


def test_every_kind_of_part() -> None:
    parts = (
        TextPart(text="See"),
        ImagePart(media_type="image/png", data=b"\x89PNG", detail="low"),
        ImagePart(url="https://a.example/b.png"),
        AudioPart(data=b"RIFF", format="wav"),
        DocumentPart(text="words"),
        DocumentPart(media_type="application/pdf", data=b"%PDF", title="a.pdf"),
    )
    assert sent(turns=(Turn(role="user", parts=parts),))["messages"][0]["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw==", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "text", "text": "words"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}},
    ]


def test_a_part_out_of_place_is_refused() -> None:
    with pytest.raises(BadRequest, match="ThinkingPart can't stand in this place"):
        sent(turns=(Turn(role="user", parts=(ThinkingPart(text="x"),)),))


SAMPLING = Sampling(
    temperature=0.0,
    top_p=0.9,
    top_k=40,
    min_p=0.05,
    presence_penalty=0.1,
    frequency_penalty=0.2,
    repeat_penalty=1.1,
    seed=7,
    stop=("\n",),
    logit_bias={"5": -100.0},
    n=2,
    logprobs=True,
    top_logprobs=3,
)
COMMON = {
    "temperature": 0.0,
    "top_p": 0.9,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "seed": 7,
    "stop": ["\n"],
    "logit_bias": {"5": -100.0},
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
}
VENDORS = {"top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (NodeKind.OPENAI, {"max_completion_tokens": 64}),
        (NodeKind.VLLM, VENDORS | {"max_completion_tokens": 64}),
        (NodeKind.LLAMACPP, VENDORS | {"max_tokens": 64}),
        (NodeKind.MLX, VENDORS | {"max_tokens": 64}),
    ],
)
def test_each_kind_gets_what_it_takes(kind: NodeKind, more: dict[str, Any]) -> None:
    found = sent(kind, sampling=SAMPLING, output=Output(max_tokens=64))
    plain = sent(kind)
    assert {name: value for name, value in found.items() if name not in plain} == COMMON | more


@pytest.mark.parametrize(
    ("output", "form"),
    [
        (Output(), None),
        (Output(form="json"), {"type": "json_object"}),
        (
            Output(form="schema", schema=SCHEMA, schema_name="x", strict=True),
            {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
        ),
        (
            Output(form="schema", schema=SCHEMA),
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        ),
    ],
)
def test_the_form_of_the_answer(output: Output, form: Any) -> None:
    assert sent(output=output).get("response_format") == form


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        (ToolChoice(mode="auto"), "auto"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="one", name="f"), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tools_and_their_choice(choice: ToolChoice, wire: Any) -> None:
    tools = (Tool(name="f", description="Does f.", schema=SCHEMA, strict=True), Tool(name="g"))
    found = sent(tools=tools, tool_choice=choice, parallel_tool_calls=False)
    described = {"name": "f", "parameters": SCHEMA, "description": "Does f.", "strict": True}
    assert (found["tools"], found["tool_choice"], found["parallel_tool_calls"]) == (
        [
            {"type": "function", "function": described},
            {
                "type": "function",
                "function": {"name": "g", "parameters": {"type": "object", "properties": {}}},
            },
        ],
        wire,
        False,
    )


def test_effort_user_and_openais_own_fields_go_along() -> None:
    extras = {"openai": {"verbosity": "low"}, "ollama": {"shift": False}}
    found = sent(reasoning=Reasoning(effort="low"), user="ana", extras=extras)
    assert (found["reasoning_effort"], found["user"], found["verbosity"]) == ("low", "ana", "low")
    assert "shift" not in found


def warnings(kind: NodeKind, **fields: Any) -> list[str]:
    return dropped(ChatRequest(model="m", **fields), ROWS[kind])


def test_what_it_has_no_place_for_is_told() -> None:
    sealed = Turn(role="assistant", parts=(ThinkingPart(redacted="x"),))
    fields: dict[str, Any] = {
        "sampling": SAMPLING,
        "reasoning": Reasoning(budget_tokens=99),
        "turns": (sealed,),
        "extras": {"ollama": {"shift": False}, "openai": {"verbosity": "low"}},
    }
    always = ["reasoning.budget_tokens", "messages.thinking (sealed)", "shift"]
    assert warnings(NodeKind.VLLM, **fields) == [
        f"{name}: this node does not know it, dropped" for name in always
    ]
    assert warnings(NodeKind.OPENAI, **fields) == [
        f"{name}: this node does not know it, dropped"
        for name in ["top_k", "min_p", "repeat_penalty", *always]
    ]


def test_a_plain_question_drops_nothing() -> None:
    assert warnings(NodeKind.OPENAI, turns=(HELLO,)) == []


def test_what_stays_behind_is_told() -> None:
    request = ChatRequest(model="m", metadata={"a": "b"}, store=False, affinity="k")
    told = dropped(request, ROWS[NodeKind.VLLM])
    assert told == [
        f"{name}: this node does not know it, dropped" for name in ("metadata", "store", "prompt_cache_key")
    ]
