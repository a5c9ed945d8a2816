import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine import gguf_files

from casona.engine.gguf import BrokenModel, Header, read_header, read_model


def test_a_chat_model_says_what_it_is(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    told = {name: getattr(header, name) for name in Header.__slots__ if name not in ("metadata", "arrays")}
    assert told.pop("chat_template").startswith("{%- if tools %}<|im_start|>system")
    assert told == {
        "architecture": "llama",
        "name": "tiny",
        "kind": "model",
        "parameters": 116_032,
        "context_tokens": 8192,
        "embedding_length": 64,
        "feed_forward_length": 128,
        "layers": 2,
        "heads": 4,
        "kv_heads": 4,
        "key_length": 16,
        "value_length": 16,
        "sliding_window": 0,
        "experts": 0,
        "vocabulary": 264,
        "file_type": "F32",
        "tokenizer": "gpt2",
        "pooling": "",
        "license": "",
        "size_label": "",
        "tensor_bytes": 464_128,
        "split_count": 1,
        "split_number": 1,
        "is_embedder": False,
    }


def test_an_embedder_is_known_as_one(minilm_gguf: Path) -> None:
    header = read_header(minilm_gguf)
    assert (header.is_embedder, header.pooling, header.context_tokens) == (True, "mean", 512)
    assert header.file_type == "F16"


def test_grouped_heads_have_a_length_of_their_own(tmp_path: Path) -> None:
    header = read_header(gguf_files.grouped(tmp_path / "m.gguf"))
    assert (header.heads, header.kv_heads, header.key_length, header.value_length) == (8, 2, 32, 32)


def test_a_large_vocabulary_is_counted_and_not_kept(tmp_path: Path) -> None:
    header = read_header(gguf_files.grouped(tmp_path / "m.gguf", tokens=150_000, width=32))
    assert header.vocabulary == 150_000
    assert not any(key.startswith("tokenizer") for key in header.arrays)


def test_numbers_that_differ_by_layer_are_kept(tmp_path: Path) -> None:
    out = _writer(tmp_path / "m.gguf")
    out.add_head_count_kv([2, 0, 4])
    _finish(out)
    header = read_header(tmp_path / "m.gguf")
    assert (header.kv_heads, header.arrays["llama.attention.head_count_kv"]) == (4, (2, 0, 4))


def test_shards_are_one_model(tmp_path: Path) -> None:
    paths = gguf_files.shards(tmp_path / "big.gguf", 3)
    header = read_model(paths)
    assert (header.split_count, header.parameters, header.tensor_bytes) == (3, 192, 768)
    with pytest.raises(BrokenModel, match="has 2 of its 3 parts"):
        read_model(paths[:2])
    with pytest.raises(BrokenModel, match="has a different file as part 1 of 3"):
        read_model(paths[::-1])


def test_names_that_are_not_utf8_do_no_harm(tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(
        tiny_gguf.read_bytes().replace(b"\x04\0\0\0\0\0\0\0tiny", b"\x04\0\0\0\0\0\0\0ti\xff\xfe")
    )
    assert read_header(path).name == "ti��"


def _head(tensors: int, pairs: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


LLAMA = _text(b"general.architecture") + struct.pack("<I", 8) + _text(b"llama")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip", "is not a GGUF file"),
        (b"GG", "is not a GGUF file"),
        (b"GGUF", "ends inside its header"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "big-endian"),
        (_head(1, 1, version=1), "GGUF version 1"),
        (_head(1, 1, version=9), "GGUF version 9"),
        (_head(2**60, 1), "claims 1152921504606846976 tensors"),
        (_head(0, 2**60), "1152921504606846976 properties"),
        (_head(0, 1, struct.pack("<Q", 2**63)), "ends inside its header"),
        (_head(0, 1, _text(b"k") + struct.pack("<I", 77)), "unknown type 77"),
        (_head(0, 1, _text(b"k") + struct.pack("<IIQ", 9, 8, 2**50)), "claims 1125899906842624 entries"),
        (_head(0, 1, _text(b"k") + struct.pack("<IIQ", 9, 9, 1)), "a list 'k' of the type 9"),
        (_head(0, 1, _text(b"k") + struct.pack("<IIQQ", 9, 8, 100, 2**63)), "ends inside its header"),
        (_head(0, 2, LLAMA + LLAMA), "says 'general.architecture' twice"),
        (_head(0, 1, LLAMA), "holds no tensors"),
        (_head(1, 0, _text(b"t") + struct.pack("<I", 9)), "of 9 dimensions"),
        (_head(1, 0, _text(b"t") + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0)), "impossible tensor"),
        (
            _head(1, 0, _text(b"t") + struct.pack("<IQIQ", 1, 4, 0, 0) + b"\0" * 99),
            "does not say its architecture",
        ),
        (
            _head(1, 1, LLAMA + _text(b"t") + struct.pack("<IQIQ", 1, 4, 0, 0) + b"\0" * 99),
            "llama.context_length",
        ),
        (_head(1, 1, LLAMA + _text(b"t") + struct.pack("<IQIQ", 1, 4, 0, 2**40)), "is cut short"),
    ],
)
def test_a_broken_file_is_told_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(BrokenModel, match=reason):
        read_header(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda out: out.add_uint32("general.alignment", 7), "impossible alignment 7"),
        (lambda out: out.add_string("llama.attention.head_count", "many"), "head_count is 'many'"),
        (lambda out: out.add_int32("llama.expert_count", -4), "expert_count is '-4'"),
        (lambda out: out.add_uint64("llama.vocab_size", 2**63), "vocab_size is"),
    ],
)
def test_nonsense_is_told(tmp_path: Path, spoil: Callable[[gguf.GGUFWriter], None], reason: str) -> None:
    out = _writer(tmp_path / "m.gguf")
    spoil(out)
    _finish(out)
    with pytest.raises(BrokenModel, match=reason):
        read_header(tmp_path / "m.gguf")


def test_a_file_that_is_still_being_copied_is_cut_short(tmp_path: Path, tiny_gguf: Path) -> None:
    whole = tiny_gguf.read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[:-1000])
    with pytest.raises(BrokenModel, match=f"is cut short: {len(whole) - 1000} of at least"):
        read_header(tmp_path / "m.gguf")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="cannot be read: No such file"):
        read_header(tmp_path / "m.gguf")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 7200), st.binary(min_size=1, max_size=9)), max_size=6))
def test_bytes_changed_anywhere_break_nothing_else(
    tmp_path: Path, tiny_gguf: Path, changes: list[tuple[int, bytes]]
) -> None:
    content = bytearray(tiny_gguf.read_bytes())
    for place, put in changes:
        content[place : place + len(put)] = put
    _read_or_refuse(tmp_path / "m.gguf", bytes(content))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, 8000), tail=st.binary(max_size=64))
def test_a_file_cut_anywhere_breaks_nothing_else(
    tmp_path: Path, tiny_gguf: Path, length: int, tail: bytes
) -> None:
    _read_or_refuse(tmp_path / "m.gguf", tiny_gguf.read_bytes()[:length] + tail)


def _read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        header = read_header(path)
    except BrokenModel as error:
        assert str(error)
    else:
        assert header.layers > 0


def _writer(path: Path) -> gguf.GGUFWriter:
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(1024)
    out.add_embedding_length(8)
    out.add_block_count(3)
    return out


def _finish(out: gguf.GGUFWriter) -> None:
    out.add_tensor("t", np.ones((8, 8), np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
