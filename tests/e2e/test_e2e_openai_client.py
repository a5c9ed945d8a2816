"""The official openai package against a house with the real engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import openai
import pytest
from pydantic import BaseModel
from tests.e2e.conftest import Open, Running

ON = {"ignore_eos": True}  # random words may end early
HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Bo"]}, "age": {"enum": [7, 8]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture
def house(open_house: Open, tiny_gguf: Path) -> Running:
    return open_house(models=[tiny_gguf])


@pytest.fixture
def client(house: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.api_key, max_retries=0) as found:
        yield found


def test_a_whole_answer_with_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=7, extra_body=ON)
    choice = answer.choices[0]
    assert (answer.object, answer.model, choice.finish_reason) == ("chat.completion", "tiny", "length")
    assert choice.message.content
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (21, 7)


def test_a_streamed_answer_is_the_whole_one_in_pieces(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": 9, "temperature": 0, "extra_body": ON}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    pieces = list(client.chat.completions.create(stream=True, **asked))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole
    assert [piece.usage for piece in pieces if piece.usage] == []
    assert pieces[-1].choices[0].finish_reason == "length"


def test_a_stream_ends_with_usage_when_asked(client: openai.OpenAI) -> None:
    pieces = list(
        client.chat.completions.create(
            model="tiny",
            messages=HELLO,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=ON,
        )
    )
    usage = [piece.usage for piece in pieces if piece.usage]
    assert [(found.prompt_tokens, found.completion_tokens) for found in usage] == [(21, 5)]
    assert pieces[-1].choices == []


def test_the_streaming_helper_parses_the_same_answer(client: openai.OpenAI) -> None:
    class Person(BaseModel):
        name: Literal["Ada", "Bo"]
        age: Literal["seven", "eight"]

    with client.chat.completions.stream(model="tiny", messages=HELLO, response_format=Person) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].finish_reason == "stop"
    assert isinstance(final.choices[0].message.parsed, Person)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_follows_its_schema(client: openai.OpenAI, stream: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    asked = {"model": "tiny", "messages": HELLO, "response_format": form, "max_tokens": 200}
    if stream:
        pieces = client.chat.completions.create(stream=True, **asked)
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    else:
        text = client.chat.completions.create(**asked).choices[0].message.content or ""
    person = json.loads(text)
    assert person["name"] in {"Ada", "Bo"}
    assert person["age"] in {7, 8}


def test_several_choices_come_back_each_with_its_index(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=4, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_log_probabilities_come_with_their_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=30, logprobs=True, top_logprobs=2
    )
    found = answer.choices[0].logprobs
    assert found
    # one entry for each whole character: random tokens may be parts of one
    assert {len(entry.top_logprobs) for entry in found.content or []} == {2}


def test_models_are_listed_and_found_by_name(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    found = {client.models.retrieve(name).id for name in ("tiny", "tiny:latest", "tiny@engine")}
    assert found == {"tiny", "tiny:latest", "tiny@engine"}


def test_an_unknown_model_is_not_found_and_says_what_there_is(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'nope' does not exist; there are: tiny") as refused:
        client.chat.completions.create(model="nope", messages=HELLO)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_a_bad_field_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature: expected float <= 2") as refused:
        client.chat.completions.create(model="tiny", messages=HELLO, temperature=3)
    assert refused.value.param == "temperature"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(client: openai.OpenAI, stream: bool) -> None:
    long = [{"role": "user", "content": "x " * 9000}]
    with pytest.raises(openai.BadRequestError, match=r"has \d+ tokens .* context holds 8192") as refused:
        client.chat.completions.create(model="tiny", messages=long, stream=stream)
    assert refused.value.code == "context_length_exceeded"


@pytest.fixture
def stranger(house: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="csn-wrong", max_retries=0) as found:
        yield found


def test_a_wrong_key_is_refused(stranger: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="not known here, or was revoked"):
        stranger.chat.completions.create(model="tiny", messages=HELLO)


def test_no_key_is_refused(stranger: openai.OpenAI) -> None:
    bare = {"Authorization": openai.Omit()}
    with pytest.raises(openai.AuthenticationError, match="no API key was given"):
        stranger.models.list(extra_headers=bare)
