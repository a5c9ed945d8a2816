"""What a model's properties mean: shape, context, tokenizer, whether it only embeds.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (standardized key-value pairs)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from casona.engine.quantisation import FILE_TYPES

NUMBER_LIMIT = 2**40
_POOLING = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
# Architectures that only embed; llama.cpp aborts when they are loaded to chat.
_EMBEDDERS = frozenset(
    {
        *("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3"),
        *("eurobert", "gemma-embedding", "llama-embed", "t5encoder"),
    }
)

Scalar = str | int | float | bool


class BrokenModel(ValueError):
    """This file cannot be served; `str(error)` is the reason in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Numbers are 0 and texts "" where the file does not say.

    `metadata` holds every single value under its own key, `arrays` the short lists (such as
    `llama.attention.head_count_kv` when it differs by layer). `heads` and `kv_heads` are the
    largest of all layers. `tensor_bytes` is what the tensors take in this file, or in all shards.
    `kind` is "model", "mmproj", "adapter", "imatrix" …
    """

    architecture: str
    name: str = ""
    kind: str = "model"
    parameters: int = 0
    context_tokens: int = 0
    embedding_length: int = 0
    feed_forward_length: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    key_length: int = 0
    value_length: int = 0
    sliding_window: int = 0
    experts: int = 0
    vocabulary: int = 0
    file_type: str = ""
    tokenizer: str = ""
    chat_template: str = ""
    pooling: str = ""
    license: str = ""
    size_label: str = ""
    tensor_bytes: int = 0
    split_count: int = 1
    split_number: int = 1
    is_embedder: bool = False
    metadata: Mapping[str, Scalar]
    arrays: Mapping[str, tuple[Scalar, ...]]


def describe(metadata: Mapping[str, Scalar], arrays: Mapping[str, tuple[Scalar, ...]], tokens: int) -> Header:
    """`tokens` is how many its vocabulary has. Raises BrokenModel for what llama.cpp would stumble over."""
    architecture = _text(metadata, "general.architecture")
    if not architecture:
        raise BrokenModel("does not say its architecture")

    def own(key: str) -> int:
        return whole_number(metadata, f"{architecture}.{key}", arrays)

    heads, embedding_length = own("attention.head_count"), own("embedding_length")
    per_head = embedding_length // heads if heads else 0
    kind = _text(metadata, "general.type") or ("mmproj" if architecture == "clip" else "model")
    pooling = metadata.get(f"{architecture}.pooling_type", -1)
    header = Header(
        architecture=architecture,
        name=_text(metadata, "general.name"),
        kind=kind,
        context_tokens=own("context_length"),
        embedding_length=embedding_length,
        feed_forward_length=own("feed_forward_length"),
        layers=own("block_count"),
        heads=heads,
        kv_heads=own("attention.head_count_kv") or heads,
        key_length=own("attention.key_length") or per_head,
        value_length=own("attention.value_length") or per_head,
        sliding_window=own("attention.sliding_window"),
        experts=own("expert_count"),
        vocabulary=tokens or own("vocab_size"),
        file_type=FILE_TYPES.get(whole_number(metadata, "general.file_type", absent=-1) & 1023, ""),
        tokenizer=_text(metadata, "tokenizer.ggml.model"),
        chat_template=_text(metadata, "tokenizer.chat_template"),
        pooling=_POOLING.get(pooling, "") if isinstance(pooling, int) else "",
        license=_text(metadata, "general.license") or _text(metadata, "general.license.name"),
        size_label=_text(metadata, "general.size_label"),
        split_count=max(1, whole_number(metadata, "split.count")),
        split_number=whole_number(metadata, "split.no") + 1,
        metadata=metadata,
        arrays=arrays,
    )
    _check_shape(header)
    return replace(header, is_embedder=_embeds(header))


def _check_shape(header: Header) -> None:
    """What llama.cpp insists on, so that the reason is told before a load is tried."""
    if header.kind != "model" or header.split_number > 1:
        return
    for key, value in (
        ("context_length", header.context_tokens),
        ("embedding_length", header.embedding_length),
        ("block_count", header.layers),
    ):
        if not value:
            raise BrokenModel(f"does not say its {header.architecture}.{key}")
    if header.layers > 4096:
        raise BrokenModel(f"claims {header.layers} layers")


def _embeds(header: Header) -> bool:
    return header.architecture in _EMBEDDERS or header.pooling in ("mean", "cls", "last", "rank")


def whole_number(
    metadata: Mapping[str, Scalar],
    key: str,
    arrays: Mapping[str, tuple[Scalar, ...]] | None = None,
    absent: int = 0,
) -> int:
    """A whole number, or the largest of a list that has one for each layer."""
    value: Any = metadata.get(key)
    if value is None and arrays and arrays.get(key):
        numbers = [entry for entry in arrays[key] if isinstance(entry, int)]
        value = max(numbers, default=0)
    if value is None:
        return absent
    if not isinstance(value, int) or not 0 <= value <= NUMBER_LIMIT:
        raise BrokenModel(f"says that {key} is {str(value)[:40]!r}")
    return value


def _text(metadata: Mapping[str, Scalar], key: str) -> str:
    value = metadata.get(key, "")
    return value if isinstance(value, str) else ""
