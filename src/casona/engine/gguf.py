"""What a GGUF file says of itself, read without loading it.

Files come from anywhere, so nothing in them is believed: every length is checked against the file,
only the header is read (never mapped: a file cut short while mapped kills the process), and long
arrays such as the vocabulary are stepped over.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import os
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from casona.engine.header import BrokenModel, Header, Scalar, describe, whole_number
from casona.engine.quantisation import TENSOR_TYPES, row_bytes

__all__ = ["BrokenModel", "Header", "read_header", "read_model"]

HEADER_LIMIT_BYTES = 128 * 2**20  # a vocabulary of 262,144 with merges and a long template takes 20 MB
ARRAY_LIMIT = 2**22
COUNT_LIMIT = 2**17
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
        if not tensors and whole_number(self.metadata, "split.count") <= 1:
            raise BrokenModel("holds no tensors (a vocabulary only?)")
        tensor_bytes = sum(size for _, size, _ in sizes)
        types: Counter[str] = Counter()
        for _, size, name in sizes:
            types[name] += size
        usual = types.most_common(1)[0][0] if types else ""
        described = describe(self.metadata, self.arrays, self._lengths.get("tokenizer.ggml.tokens", 0))
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
