"""A neutral request as Ollama's /api/chat body."""

import json
from typing import Any

import msgspec
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
from casona.nodes.ollama_request import Manner, body

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="weather", description="The weather in a city.", schema=SCHEMA)
CLOCK = Tool(name="clock")
HELLO = Turn(role="user", parts=(TextPart(text="Hello"),))


def asked(*, manner: Manner | None = None, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """The body sent and the warnings, for a request with these fields."""
    request = ChatRequest(**({"model": "llama3:8b", "turns": (HELLO,)} | fields))
    asking = body(request, manner or Manner())
    return json.loads(msgspec.json.encode(asking.body)), asking.warnings


def test_a_plain_question() -> None:
    assert asked() == (
        {
            "model": "llama3:8b",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
            "truncate": False,
        },
        [],
    )


def test_a_round_with_tools_thinking_and_images() -> None:
    turns = (
        Turn(role="user", parts=(TextPart(text="Look"), ImagePart(media_type="image/png", data=b"\x89PNG"))),
        Turn(
            role="assistant",
            parts=(
                ThinkingPart(text="Hm."),
                TextPart(text="One moment"),
                ToolCallPart(id="call_1", name="weather", arguments='{"city": "Ávila",  "a": 1.0}'),
                ToolCallPart(id="call_2", name="clock", arguments=""),
            ),
        ),
        Turn(role="tool", parts=(ToolResultPart(call_id="call_1", parts=(TextPart(text="sunny"),)),)),
        Turn(role="tool", parts=(ToolResultPart(call_id="call_9", name="clock", parts=()),)),
    )
    found, warnings = asked(system=(TextPart(text="Be"), TextPart(text="brief")), turns=turns)
    assert found["messages"] == [
        {"role": "system", "content": "Be\n\nbrief"},
        {"role": "user", "content": "Look", "images": ["iVBORw=="]},
        {
            "role": "assistant",
            "content": "One moment",
            "thinking": "Hm.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "function": {"index": 0, "name": "weather", "arguments": {"city": "Ávila", "a": 1.0}},
                },
                {"id": "call_2", "function": {"index": 1, "name": "clock", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "call_1"},
        {"role": "tool", "content": "", "tool_name": "clock", "tool_call_id": "call_9"},
    ]
    assert warnings == []


def test_arguments_keep_their_text() -> None:
    text = '{"b": 1.10, "a": 12345678901234567890123}'
    call = ToolCallPart(id="c", name="f", arguments=text)
    request = ChatRequest(model="m", turns=(Turn(role="assistant", parts=(call,)),))
    assert text.encode() in msgspec.json.encode(body(request, Manner()).body)


def test_every_option_has_its_place() -> None:
    sampling = Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        repeat_penalty=1.1,
        seed=7,
        stop=("\n", "END"),
    )
    found, _ = asked(
        sampling=sampling, output=Output(max_tokens=64), keep_alive="5m", manner=Manner(context_tokens=8192)
    )
    assert found["options"] == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "repeat_penalty": 1.1,
        "seed": 7,
        "stop": ["\n", "END"],
        "num_predict": 64,
        "num_ctx": 8192,
    }
    assert found["keep_alive"] == "5m"


@pytest.mark.parametrize(("said", "sent"), [("-1", -1), ("0", 0), ("300", 300), ("1.5h", "1.5h")])
def test_keep_alive_is_a_number_or_a_duration(said: str, sent: Any) -> None:
    assert asked(keep_alive=said)[0]["keep_alive"] == sent


@pytest.mark.parametrize(
    ("output", "sent"),
    [
        (Output(), None),
        (Output(form="json"), "json"),
        (Output(form="schema", schema=SCHEMA, schema_name="x"), SCHEMA),
        (Output(form="schema"), "json"),
    ],
)
def test_the_form_of_the_answer(output: Output, sent: Any) -> None:
    assert asked(output=output)[0].get("format") == sent


def test_tools_are_described() -> None:
    found, warnings = asked(tools=(WEATHER, CLOCK))
    assert found["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "The weather in a city.",
                "parameters": SCHEMA,
            },
        },
        {
            "type": "function",
            "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
        },
    ]
    assert "format" not in found
    assert warnings == []


def test_no_tool_choice_leaves_no_tools() -> None:
    assert "tools" not in asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="none"))[0]


def envelope(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    properties = {"name": {"type": "string", "enum": [name]}, "arguments": arguments}
    return {"type": "object", "properties": properties, "required": ["name", "arguments"]}


@pytest.mark.parametrize(
    ("choice", "schema"),
    [
        (ToolChoice(mode="one", name="weather"), envelope("weather", SCHEMA)),
        (
            ToolChoice(mode="required"),
            {"anyOf": [envelope("weather", SCHEMA), envelope("clock", {"type": "object"})]},
        ),
    ],
)
def test_a_call_that_must_be_made_is_enforced_by_a_schema(choice: ToolChoice, schema: Any) -> None:
    found, _ = asked(tools=(WEATHER, CLOCK), tool_choice=choice, output=Output(form="json"))
    assert found["format"] == schema
    assert len(found["tools"]) == 2


def test_definitions_of_a_tool_move_to_the_root_of_the_schema() -> None:
    place = {"type": "object", "properties": {"at": {"$ref": "#/$defs/Place"}}}
    tool = Tool(name="go", schema=place | {"$defs": {"Place": {"type": "string"}}})
    found, _ = asked(tools=(tool,), tool_choice=ToolChoice(mode="required"))
    assert found["format"] == envelope("go", place) | {"$defs": {"Place": {"type": "string"}}}


def refusal(**fields: Any) -> tuple[str, str | None]:
    with pytest.raises(BadRequest) as caught:
        asked(**fields)
    return str(caught.value), caught.value.param


def user(*parts: Any) -> tuple[Turn, ...]:
    return (Turn(role="user", parts=parts),)


CLASHING = tuple(Tool(name=name, schema={"$defs": {"X": {"type": name}}}) for name in ("string", "object"))

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "several choices": ({"sampling": Sampling(n=2)}, "n"),
    "biased tokens": ({"sampling": Sampling(logit_bias={"5": 1.0})}, "logit_bias"),
    "audio": ({"turns": user(AudioPart(data=b"x", format="wav"))}, "messages"),
    "an image URL": ({"turns": user(ImagePart(url="https://a.example/b.png"))}, "messages"),
    "a PDF": ({"turns": user(DocumentPart(media_type="application/pdf", data=b"%PDF"))}, "messages"),
    "a tool that is not there": ({"tool_choice": ToolChoice(mode="one", name="x")}, "tool_choice"),
    "any tool of none": ({"tool_choice": ToolChoice(mode="required")}, "tool_choice"),
    "definitions that clash": (
        {"tools": CLASHING, "tool_choice": ToolChoice(mode="required")},
        "tool_choice",
    ),
}


@pytest.mark.parametrize(("fields", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_what_it_can_not_do_is_refused_with_the_fields_name(fields: dict[str, Any], param: str) -> None:
    words, found = refusal(**fields)
    assert found == param
    assert words.startswith((f"{param}: ", "tools: "))


@pytest.mark.parametrize("arguments", ["[1]", "{", '"x"', '{"a": "\ud800"}', "nothing"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = ToolCallPart(id="call_1", name="f", arguments=arguments)
    words, param = refusal(turns=(Turn(role="assistant", parts=(call,)),))
    assert words.startswith("messages: the arguments of tool call 'call_1' are not a JSON object")
    assert param == "messages"


WARNED: dict[str, tuple[dict[str, Any], str]] = {
    "one call at a time": ({"tools": (CLOCK,), "parallel_tool_calls": False}, "parallel_tool_calls"),
    "strict tools": ({"tools": (Tool(name="a", strict=True),)}, "tools.function.strict"),
    "names of speakers": ({"turns": (Turn(role="user", parts=(), name="Ana"),)}, "messages.name"),
    "the detail of images": (
        {"turns": user(ImagePart(data=b"x", detail="low"))},
        "messages.image_url.detail",
    ),
    "sealed thoughts": ({"turns": user(ThinkingPart(redacted="x"))}, "messages.thinking"),
    "a budget for thinking": ({"reasoning": Reasoning(budget_tokens=99)}, "reasoning.budget_tokens"),
    "other vendors' fields": ({"extras": {"openai": {"verbosity": "low"}}}, "verbosity"),
}


@pytest.mark.parametrize(("fields", "what"), WARNED.values(), ids=WARNED.keys())
def test_what_it_has_no_place_for_is_told(fields: dict[str, Any], what: str) -> None:
    found, warnings = asked(**fields)
    assert [warning.partition(":")[0] for warning in warnings] == [what]
    assert "verbosity" not in found


LEVELS = Manner(thinks=True, thinks_in_levels=True)
NO_LEVELS = "reasoning_effort: this model thinks or does not, without levels"


@pytest.mark.parametrize(
    ("effort", "manner", "think", "warnings"),
    [
        ("", Manner(thinks=True), None, []),
        ("none", Manner(thinks=True), False, []),
        ("none", Manner(thinks=False), None, []),
        ("high", Manner(thinks=True), True, [NO_LEVELS]),
        ("high", Manner(), True, [NO_LEVELS]),
        ("high", Manner(thinks=False), None, ["reasoning_effort: this model does not think, dropped"]),
        ("minimal", LEVELS, "low", []),
        ("medium", LEVELS, "medium", []),
        ("xhigh", LEVELS, "high", []),
    ],
)
def test_effort_becomes_thinking(effort: str, manner: Manner, think: Any, warnings: list[str]) -> None:
    found, told = asked(reasoning=Reasoning(effort=effort), manner=manner)
    assert found.get("think") == think
    assert told == warnings


def test_log_probabilities_are_asked_for() -> None:
    found, _ = asked(sampling=Sampling(logprobs=True, top_logprobs=3))
    assert (found["logprobs"], found["top_logprobs"]) == (True, 3)


def test_ollamas_own_fields_go_along() -> None:
    extras = {"ollama": {"options": {"mirostat": 2}, "shift": False}}
    found, warnings = asked(extras=extras, sampling=Sampling(seed=1))
    assert (found["options"], found["shift"], warnings) == ({"seed": 1, "mirostat": 2}, False, [])


def test_a_text_document_is_read_to_the_model() -> None:
    documents = DocumentPart(text="one"), DocumentPart(media_type="text/plain", data="dós".encode())
    found, _ = asked(turns=user(TextPart(text="Read"), *documents))
    assert found["messages"] == [{"role": "user", "content": "Read\none\ndós"}]
