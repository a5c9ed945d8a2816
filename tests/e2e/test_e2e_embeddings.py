"""The official openai package asks a real embedding model for vectors."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import openai
import pytest
from tests.e2e.conftest import Open

TEXTS = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again."]


@pytest.fixture
def client(open_house: Open, tiny_gguf: Path, minilm_gguf: Path) -> Iterator[openai.OpenAI]:
    house = open_house(models=[tiny_gguf, minilm_gguf])
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.api_key, max_retries=0) as found:
        yield found


def closeness(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def test_like_texts_have_like_vectors(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="minilm", input=TEXTS)
    cat, kitten, rates = (row.embedding for row in answer.data)
    assert len(cat) == 384
    assert closeness(cat, kitten) > 0.5 > closeness(cat, rates)
    assert answer.usage.prompt_tokens > 15


def test_a_text_alone_as_numbers_is_the_text_in_a_list_as_base64(client: openai.OpenAI) -> None:
    alone = client.embeddings.create(model="minilm", input=TEXTS[0], encoding_format="float")
    listed = client.embeddings.create(model="minilm", input=TEXTS[:1])
    assert closeness(alone.data[0].embedding, listed.data[0].embedding) == pytest.approx(1, abs=1e-5)


def test_tokens_are_taken_by_the_engine(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model="minilm", input=[101, 4937, 102]).data) == 1


def test_a_model_does_only_what_it_can(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="'tiny' can't embed; it can chat"):
        client.embeddings.create(model="tiny", input="hi")
    with pytest.raises(openai.BadRequestError, match="'minilm' can't chat; it can embed"):
        client.chat.completions.create(model="minilm", messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "input: must not be empty"),
        ("", "input: must not be empty"),
        (["a", ""], r"input\[1\]: must not be empty"),
        (["a", 7], "input: needs a text, a list of texts, or lists of tokens"),
        ([[True]], "input: needs a text, a list of texts, or lists of tokens"),
        ("word " * 3000, "input"),
    ],
    ids=["none", "empty", "one empty", "mixed", "booleans", "too long"],
)
def test_input_that_cannot_be_embedded_is_named(client: openai.OpenAI, given: object, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        client.embeddings.create(model="minilm", input=given)  # type: ignore[arg-type]
