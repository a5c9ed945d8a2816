"""The built-in embedder: a table of word pieces, so that documents are searchable with nothing to download.

A text's vector is the mean of its pieces' vectors, scaled to length 1. Pieces are found as BERT finds them:
lowercase, accents off, punctuation and Chinese characters apart, then the longest known piece each time.
`scripts/distill.py` makes the table and tells how; the checksums beside it are checked before it is used.
"""

import hashlib
import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np
import numpy.typing as npt

from casona.library.store.base import Vectors

_PIECES_OF_ONE_TEXT = 4096
_REMEMBERED_WORDS = 200_000
_LONGEST_WORD = 100  # as BERT: longer ones are unknown
_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"


class DamagedEmbedder(Exception):
    """The table in the package is not the one that was shipped."""


class Builtin:
    """`digest` names the table: vectors of two digests are never compared."""

    def __init__(self, folder: Traversable | None = None) -> None:
        parts, self.digest = _checked(folder or files("casona.library") / "builtin")
        vocabulary = parts["vocabulary.txt"].decode().split("\n")[:-1]
        self._pieces = _Pieces(vocabulary)
        self._scales: npt.NDArray[np.float32] = np.frombuffer(parts["scales.float32"], "<f4")
        self._table: npt.NDArray[np.int8] = np.frombuffer(parts["table.int8"], np.int8)
        self._table = self._table.reshape(len(vocabulary), -1)
        self.dimensions = int(self._table.shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row per text, float32, of length 1; a text without any known word gives zeros."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            if ids := self._pieces.of(text):
                total = self._scales[ids] @ self._table[ids].astype(np.float32)
                vectors[row] = total / max(float(np.linalg.norm(total)), 1e-12)
        return vectors


class _Pieces(dict[str, tuple[int, ...]]):
    """From a word to the rows of its pieces; empty when it has an unknown part. Worked out once per word."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self._rows = {piece: row for row, piece in enumerate(vocabulary)}
        self._longest = max(map(len, vocabulary), default=0)
        marks = _punctuation()
        self._word = re.compile(f"[{marks}{_CHINESE}]|[^\\s{marks}{_CHINESE}]+")

    def of(self, text: str) -> list[int]:
        """The rows of a text's first few thousand pieces."""
        if not text.isascii():
            text = _marks().sub("", unicodedata.normalize("NFD", text.lower()))
        ids: list[int] = []
        for word in self._word.findall(text.lower()):
            ids += self[word]
        return ids[:_PIECES_OF_ONE_TEXT]

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= _REMEMBERED_WORDS:
            self.clear()
        self[word] = rows = self._split(word)
        return rows

    def _split(self, word: str) -> tuple[int, ...]:
        rows: list[int] = []
        start, prefix = 0, ""
        while start < len(word) <= _LONGEST_WORD:
            end = min(len(word), start + self._longest)
            while end > start and (row := self._rows.get(prefix + word[start:end])) is None:
                end -= 1
            if end == start:
                return ()
            rows.append(row)  # type: ignore[arg-type]  # the loop above ended on a known piece
            start, prefix = end, "##"
        return tuple(rows)


@cache
def _marks() -> re.Pattern[str]:
    """All that combines with the letter before it (Unicode's category Mn)."""
    marks = (chr(c) for c in range(0x300, 0xFFFF) if unicodedata.category(chr(c)) == "Mn")
    return re.compile(f"[{''.join(marks)}]+")


def _punctuation() -> str:
    """What BERT counts as punctuation: every ASCII sign that is no letter or digit, and Unicode's own."""
    signs = [c for c in map(chr, range(33, 127)) if not c.isalnum()]
    others = (chr(c) for c in range(128, min(sys.maxunicode, 0xFFFF)))
    signs += [c for c in others if unicodedata.category(c).startswith("P")]
    return re.escape("".join(signs))


def _checked(folder: Traversable) -> tuple[dict[str, bytes], str]:
    """The files that SHA256SUMS lists, and one digest of them all. Raises DamagedEmbedder."""
    sums = (folder / "SHA256SUMS").read_text()
    parts: dict[str, bytes] = {}
    for line in sums.splitlines():
        expected, name = line.split()
        parts[name] = (folder / name).read_bytes()
        if hashlib.sha256(parts[name]).hexdigest() != expected:
            raise DamagedEmbedder(f"{name} of the built-in embedder is damaged; install casona again")
    return parts, hashlib.sha256(sums.encode()).hexdigest()
