"""The estimate against what the real engine takes, and against published shapes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engine import gguf_files

from casona.engine.fit import Needs, estimate
from casona.engine.gguf import Header, read_header

MEGABYTE = 2**20
# Starts a model as the engine's child does, and ends at once; llama.cpp tells its buffers on standard error.
STARTER = """
import json, os, sys
import xllamacpp
params = xllamacpp.CommonParams()
for key, value in json.loads(sys.argv[2]).items():
    setattr(params, key, getattr(xllamacpp.ggml_type, value) if key.startswith("cache_type") else value)
params.model.path, params.port = sys.argv[1], 0
params.fit_params = params.ui = params.warmup = params.kv_unified = False
params.verbosity = 4
server = xllamacpp.Server(params)
sys.stderr.flush()
os._exit(0)
"""


def taken(path: Path, options: dict[str, Any]) -> dict[str, float]:
    """Mebibytes of each kind of buffer, as llama.cpp reports them."""
    run = subprocess.run(
        [sys.executable, "-c", STARTER, str(path), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    sums: dict[str, float] = {}
    for kind, size in re.findall(r"(KV|RS|compute) buffer size = +([\d.]+) MiB", run.stderr):
        sums[kind] = sums.get(kind, 0) + float(size)
    return sums


def needs(header: Header, **changes: Any) -> Needs:
    usual = {"parallel": 4, "cache_type_k": "f16", "cache_type_v": "f16", "file_bytes": header.tensor_bytes}
    return estimate(header, **{"context_tokens": 4096, **usual, **changes})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_gguf: Path, minilm_gguf: Path) -> dict[str, Path]:
    room = tmp_path_factory.mktemp("models")
    return {
        "plain": tiny_gguf,
        "grouped": gguf_files.grouped(room / "grouped.gguf"),
        "wide": gguf_files.grouped(room / "wide.gguf", width=512, feed_forward=2048),
        "windowed": gguf_files.windowed(room / "windowed.gguf"),
        "latent": gguf_files.latent(room / "latent.gguf"),
        "recurrent": gguf_files.recurrent(room / "recurrent.gguf"),
        "embedder": minilm_gguf,
    }


@pytest.mark.parametrize("kind", ["plain", "grouped", "wide", "windowed", "latent", "recurrent"])
def test_the_engine_takes_what_was_counted(models: dict[str, Path], kind: str) -> None:
    told = taken(models[kind], {"n_ctx": 4 * 4096, "n_parallel": 4})
    counted = needs(read_header(models[kind]))
    assert counted.cache_bytes / MEGABYTE == pytest.approx(told.get("KV", 0) + told.get("RS", 0), abs=0.01)
    assert told["compute"] <= counted.compute_bytes / MEGABYTE <= told["compute"] * 1.5 + 2


def test_a_quantised_cache_is_counted(models: dict[str, Path]) -> None:
    options = {"cache_type_k": "GGML_TYPE_Q8_0", "cache_type_v": "GGML_TYPE_Q4_0"}
    told = taken(models["grouped"], {"n_ctx": 3 * 5333, "n_parallel": 3, **options})
    counted = needs(
        read_header(models["grouped"]),
        context_tokens=5333,
        parallel=3,
        cache_type_k="q8_0",
        cache_type_v="q4_0",
    )
    assert counted.cache_bytes / MEGABYTE == pytest.approx(told["KV"], abs=0.01)


def test_an_embedder_keeps_no_cache(models: dict[str, Path]) -> None:
    told = taken(models["embedder"], {"n_ctx": 512, "n_parallel": 1, "embedding": True, "n_ubatch": 512})
    counted = needs(read_header(models["embedder"]), context_tokens=512, parallel=1)
    assert (counted.cache_bytes, told.get("KV")) == (0, None)
    assert told["compute"] <= counted.compute_bytes / MEGABYTE <= 3 * told["compute"]


def shape(architecture: str, **fields: Any) -> Header:
    metadata = {f"{architecture}.{key}": value for key, value in fields.pop("metadata", {}).items()}
    arrays = {f"{architecture}.{key}": value for key, value in fields.pop("arrays", {}).items()}
    return Header(architecture=architecture, metadata=metadata, arrays=arrays, **fields)


def per_token(header: Header) -> float:
    """Bytes of cache that one more token takes, far from any window."""
    step = 256
    more = needs(header, context_tokens=65_536 + step, parallel=1).cache_bytes
    return (more - needs(header, context_tokens=65_536, parallel=1).cache_bytes) / step


LLAMA_8B = shape("llama", layers=32, heads=32, kv_heads=8, key_length=128, value_length=128)
WIDE = {"heads": 16, "kv_heads": 8, "key_length": 128, "value_length": 128}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (LLAMA_8B, 131_072),
        (shape("gemma3", layers=48, sliding_window=1024, **WIDE), 8 * 4096),
        (shape("phi3", layers=40, sliding_window=2047, **WIDE), 40 * 4096),
        (shape("gpt-oss", layers=24, sliding_window=128, **WIDE), 12 * 4096),
        (shape("qwen35", layers=64, **WIDE), 16 * 4096),
        (shape("jamba", layers=4, arrays={"attention.head_count_kv": (0, 0, 8, 0)}, **WIDE), 4096),
        (shape("falcon-h1", layers=4, **WIDE), 4 * 4096),
        (shape("gemma3n", layers=30, metadata={"attention.shared_kv_layers": 10}, **WIDE), 20 * 4096),
        (
            shape(
                "gemma4",
                layers=4,
                sliding_window=512,
                metadata={"attention.key_length_swa": 64, "attention.value_length_swa": 64},
                arrays={"attention.sliding_window_pattern": (True, True, True, False)},
                **WIDE,
            ),
            4096,
        ),
    ],
    ids=lambda value: value.architecture if isinstance(value, Header) else "",
)
def test_a_tokens_cache_follows_the_kind_of_model(header: Header, expected: int) -> None:
    assert per_token(header) == expected


def test_an_unknown_window_is_taken_for_none() -> None:
    assert per_token(shape("novel", layers=10, sliding_window=512, **WIDE)) == 10 * 4096


def test_everything_is_added_up() -> None:
    counted = needs(LLAMA_8B, file_bytes=1000, mmproj_bytes=400)
    assert counted.weights_bytes == 1400
    assert counted.total_bytes == 1400 + counted.cache_bytes + counted.compute_bytes


def test_a_wrong_cache_type_is_told(tmp_path: Path) -> None:
    make: Callable[[], Needs] = lambda: needs(LLAMA_8B, cache_type_k="q9")  # noqa: E731
    with pytest.raises(ValueError, match="'q9' is not a cache type; it can be f32, f16"):
        make()
