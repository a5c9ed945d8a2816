"""OpenAI embeddings, as clients send them to POST /v1/embeddings.

Source: OpenAI's openapi.yaml, CreateEmbeddingRequest and CreateEmbeddingResponse.
"""

import base64
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from casona.dialects import body
from casona.dialects.openai_wire import ModelName
from casona.exchange.errors import BadRequest

NAME = "openai.embeddings"
PATH = "/embeddings"
MOST_TEXTS = 2048


class EmbeddingsBody(Struct):
    model: ModelName
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    user: str | None = None


_body = msgspec.json.Decoder(EmbeddingsBody)


@dataclass(frozen=True, slots=True)
class AskedEmbeddings:
    """A checked request body. `texts` is None when the client sent tokens instead."""

    fields: body.Fields
    found: EmbeddingsBody
    texts: tuple[str, ...] | None

    @property
    def model(self) -> str:
        return self.found.model

    def relayed(self, model: str) -> bytes:
        """The body for a node of this dialect, which calls the model `model`."""
        return msgspec.json.encode(self.fields | {"model": msgspec.Raw(msgspec.json.encode(model))})

    def answer(self, vectors: Sequence[Sequence[float]], *, prompt_tokens: int) -> bytes:
        """The vectors as the client wants them: cut to `dimensions` and of length one again, or as base64."""
        data = [
            {"object": "embedding", "index": at, "embedding": self._written(vector)}
            for at, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
        return msgspec.json.encode({"object": "list", "data": data, "model": self.model, "usage": usage})

    def _written(self, vector: Sequence[float]) -> Sequence[float] | str:
        if self.found.dimensions is not None and self.found.dimensions < len(vector):
            vector = _cut(vector, self.found.dimensions)
        if self.found.encoding_format != "base64":
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def read(raw: bytes) -> AskedEmbeddings:
    """Check a request body. Raises BadRequest, naming the field at fault."""
    fields = body.fields(raw)
    found = body.decode(_body, raw)
    return AskedEmbeddings(fields, found, _texts(found.input))


def _texts(given: str | list[Any]) -> tuple[str, ...] | None:
    items = [given] if isinstance(given, str) else given
    if not items:
        raise BadRequest("input: must not be empty", param="input")
    if all(isinstance(item, str) for item in items):
        if len(items) > MOST_TEXTS:
            raise BadRequest(f"input: has {len(items)} texts and the limit is {MOST_TEXTS}", param="input")
        for at, item in enumerate(items):
            if not item:
                where = "input" if isinstance(given, str) else f"input[{at}]"
                raise BadRequest(f"{where}: must not be empty", param=where)
        return tuple(items)
    if _are_tokens(items) or all(isinstance(item, list) and item and _are_tokens(item) for item in items):
        return None
    raise BadRequest("input: needs a text, a list of texts, or lists of tokens", param="input")


def _are_tokens(items: list[Any]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in items)


def _cut(vector: Sequence[float], dimensions: int) -> list[float]:
    """The first dimensions of a Matryoshka embedding, of length one again."""
    kept = vector[:dimensions]
    length = math.sqrt(sum(value * value for value in kept)) or 1.0
    return [value / length for value in kept]
