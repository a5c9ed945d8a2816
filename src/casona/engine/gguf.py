"""What a GGUF file says of itself, read without loading it.

Files come from anywhere, so nothing in them is believed: every length is checked against the file,
only the header is read (never mapped: a file cut short while mapped kills the process), and long
arrays such as the vocabulary are stepped over.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import os
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from casona.engine.quantisation import FILE_TYPES, TENSOR_TYPES, row_bytes

HEADER_LIMIT_BYTES = 128 * 2**20  # a vocabulary of 262,144 with merges and a long template takes 20 MB
ARRAY_LIMIT = 2**22
COUNT_LIMIT = 2**17
NUMBER_LIMIT = 2**40
KEPT_NUMBERS = 4096
KEPT_STRINGS = 64

_NUMBERS = {
    type_id: struct.Struct("<" + code)
    for type_id, code in {
        **{0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i"},
        **{6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"},
    }.items()
}
_STRING, _ARRAY = 8, 9
_U64 = struct.Struct("<Q")
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


def read_header(path: Path) -> Header:
    """Read one file's header. Raises BrokenModel with the reason, for anything wrong with it."""
    try:
        with path.open("rb") as file:
            return _Reader(file, os.fstat(file.fileno()).st_size).header()
    except OSError as error:
        raise BrokenModel(f"cannot be read: {error.strerror or error}") from None


def read_model(files: Sequence[Path]) -> Header:
    """Read a model of one or more shards, in order: the first one's header with the sums of all.

    Raises BrokenModel; also when a shard is missing or out of place.
    """
    first, *others = [read_header(path) for path in files]
    expected = first.split_count
    if expected != len(files):
        raise BrokenModel(f"has {len(files)} of its {expected} parts")
    for number, shard in enumerate((first, *others), start=1):
        if (shard.split_number, shard.split_count) != (number, expected):
            raise BrokenModel(f"has a different file as part {number} of {expected}")
    return replace(
        first,
        parameters=first.parameters + sum(shard.parameters for shard in others),
        tensor_bytes=first.tensor_bytes + sum(shard.tensor_bytes for shard in others),
    )


class _Reader:
    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size = size_bytes
        self._data = bytearray()
        self._at = 0
        self.metadata: dict[str, Scalar] = {}
        self.arrays: dict[str, tuple[Scalar, ...]] = {}
        self._lengths: dict[str, int] = {}

    def header(self) -> Header:
        tensors, pairs = self._preamble()
        for _ in range(pairs):
            self._pair()
        sizes, parameters = self._tensors(tensors)
        self._check_room(sizes)
        if not tensors and _number(self.metadata, "split.count") <= 1:
            raise BrokenModel("holds no tensors (a vocabulary only?)")
        tensor_bytes = sum(size for _, size, _ in sizes)
        types: Counter[str] = Counter()
        for _, size, name in sizes:
            types[name] += size
        usual = types.most_common(1)[0][0] if types else ""
        described = _describe(self.metadata, self.arrays, self._lengths.get("tokenizer.ggml.tokens", 0))
        return replace(
            described,
            parameters=parameters,
            tensor_bytes=tensor_bytes,
            file_type=described.file_type or usual,
        )

    def _preamble(self) -> tuple[int, int]:
        if self._size < 4 or self._take(4) != b"GGUF":
            raise BrokenModel("is empty" if not self._size else "is not a GGUF file")
        version = self._number(4)
        if version & 0xFFFF == 0:
            raise BrokenModel("was written for big-endian machines")
        if version not in (2, 3):
            raise BrokenModel(f"has GGUF version {version}; llama.cpp reads 2 and 3")
        tensors, pairs = self._number(10), self._number(10)
        if tensors > COUNT_LIMIT or pairs > COUNT_LIMIT:
            raise BrokenModel(f"claims {tensors} tensors and {pairs} properties")
        return tensors, pairs

    def _pair(self) -> None:
        key = self._string()
        if key in self.metadata or key in self._lengths:
            raise BrokenModel(f"says {key[:80]!r} twice")
        kind = self._number(4)
        if kind == _ARRAY:
            self._array(key)
        elif kind == _STRING:
            self.metadata[key] = self._string()
        elif kind in _NUMBERS:
            self.metadata[key] = self._number(kind)
        else:
            raise BrokenModel(f"has a property {key[:80]!r} of the unknown type {kind}")

    def _array(self, key: str) -> None:
        kind, count = self._number(4), self._number(10)
        if count > ARRAY_LIMIT:
            raise BrokenModel(f"claims {count} entries in {key[:80]!r}")
        self._lengths[key] = count
        kept = not key.startswith("tokenizer.")
        if kind == _STRING:
            if kept and count <= KEPT_STRINGS:
                self.arrays[key] = tuple(self._string() for _ in range(count))
            else:
                self._step_over_strings(count)
        elif kind in _NUMBERS:
            raw = self._take(count * _NUMBERS[kind].size)
            if kept and count <= KEPT_NUMBERS:
                self.arrays[key] = tuple(value for (value,) in _NUMBERS[kind].iter_unpack(raw))
        else:
            raise BrokenModel(f"has a list {key[:80]!r} of the type {kind}")

    def _step_over_strings(self, count: int) -> None:
        """Half a million strings in a few hundredths of a second, so a bare loop over lengths."""
        end, data, unpack = self._at, self._data, _U64.unpack_from
        for _ in range(count):
            try:
                end += 8 + unpack(data, end)[0]
            except (struct.error, OverflowError):
                self._read_up_to(end + 8)
                end += 8 + unpack(data, end)[0]
        self._read_up_to(end)
        self._at = end

    def _tensors(self, count: int) -> tuple[list[tuple[int, int, str]], int]:
        """Each tensor's offset, bytes and type; and the number of weights in all."""
        found, parameters = [], 0
        for _ in range(count):
            name, dimensions = self._string(), self._number(4)
            if not 0 < dimensions <= 4:
                raise BrokenModel(f"has a tensor {name[:80]!r} of {dimensions} dimensions")
            numbers = 1
            for _ in range(dimensions):
                numbers *= self._number(10)
            kind, offset = self._number(4), self._number(10)
            if not 0 < numbers <= 2**48 or kind > 255:
                raise BrokenModel(f"has an impossible tensor {name[:80]!r}")
            parameters += numbers
            found.append((offset, row_bytes(kind, numbers) or 0, TENSOR_TYPES.get(kind, ("",))[0]))
        return found, parameters

    def _check_room(self, tensors: list[tuple[int, int, str]]) -> None:
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
            raise BrokenModel(f"has the impossible alignment {alignment!r}")
        start = -(-self._at // alignment) * alignment
        needed = max((start + offset + size for offset, size, _ in tensors), default=0)
        if needed > self._size:
            raise BrokenModel(f"is cut short: {self._size} of at least {needed} bytes are here")

    def _read_up_to(self, end: int) -> None:
        if end > self._size:
            raise BrokenModel("is cut short: it ends inside its header")
        if end > HEADER_LIMIT_BYTES:
            raise BrokenModel(f"has a header of more than {HEADER_LIMIT_BYTES} bytes")
        missing = end - len(self._data)
        if missing > 0:
            self._data += self._file.read(max(missing, 2**20))
        if end > len(self._data):
            raise BrokenModel("is cut short: it ends inside its header")

    def _take(self, count: int) -> bytes:
        end = self._at + count
        self._read_up_to(end)
        raw = bytes(self._data[self._at : end])
        self._at = end
        return raw

    def _number(self, kind: int) -> Any:
        return _NUMBERS[kind].unpack(self._take(_NUMBERS[kind].size))[0]

    def _string(self) -> str:
        return self._take(self._number(10)).decode("utf-8", "replace")


def _describe(
    metadata: Mapping[str, Scalar], arrays: Mapping[str, tuple[Scalar, ...]], tokens: int
) -> Header:
    architecture = _text(metadata, "general.architecture")
    if not architecture:
        raise BrokenModel("does not say its architecture")

    def own(key: str) -> int:
        return _number(metadata, f"{architecture}.{key}", arrays)

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
        file_type=FILE_TYPES.get(_number(metadata, "general.file_type", absent=-1) & 1023, ""),
        tokenizer=_text(metadata, "tokenizer.ggml.model"),
        chat_template=_text(metadata, "tokenizer.chat_template"),
        pooling=_POOLING.get(pooling, "") if isinstance(pooling, int) else "",
        license=_text(metadata, "general.license") or _text(metadata, "general.license.name"),
        size_label=_text(metadata, "general.size_label"),
        split_count=max(1, _number(metadata, "split.count")),
        split_number=_number(metadata, "split.no") + 1,
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


def _number(
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
