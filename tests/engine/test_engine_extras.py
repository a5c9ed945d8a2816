"""What is loaded beside a model: vision projector, adapters, draft model; and what is known of the child."""

import asyncio
import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.engine.engine_house import busy_slots, engine, get, model, open_stream, post, put, say, until
from tests.engine.extra_models import write_adapter, write_projector


def png(size: int = 28) -> str:
    """A small picture as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([row * 7 % 256, 50, 99]) * size for row in range(size))
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def look() -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": png()}}
    content = [{"type": "text", "text": "what is it?"}, picture]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 2}


def test_a_model_with_a_projector_sees(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            write_projector(tmp_path / "models/mmproj-tiny-f16.gguf")
            assert model(house, "tiny").kinds == {"chat", "vision"}
            lease = await house.acquire("tiny")
            status, answer = await asyncio.to_thread(post, lease, "/v1/chat/completions", look())
            assert (status, answer["usage"]["completion_tokens"]) == (200, 2)
            assert get(lease, "/props")[1]["modalities"]["vision"]

    asyncio.run(run())


def test_a_model_without_one_says_so(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny")
            status, answer = await asyncio.to_thread(post, lease, "/v1/chat/completions", look())
            assert status == 500
            assert answer["error"]["message"].startswith("image input is not supported")

    asyncio.run(run())


def test_an_adapter_is_applied_where_it_fits(tiny_gguf: Path, minilm_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, minilm_gguf, lora=("lora.gguf", "none.gguf")) as house:
            write_adapter(tmp_path / "lora.gguf")
            adapted, embedder = await house.acquire("tiny"), await house.acquire("minilm")
            paths = [adapter["path"] for adapter in get(adapted, "/lora-adapters")[1]]
            assert paths == [str(tmp_path / "lora.gguf")]
            assert get(embedder, "/lora-adapters")[1] == []

    asyncio.run(run())


def test_an_adapter_that_does_not_fit_is_left_out_and_told(
    tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, lora=("lora.gguf",)) as house:
            write_adapter(tmp_path / "lora.gguf", width=32)
            assert get(await house.acquire("tiny"), "/lora-adapters")[1] == []

    asyncio.run(run())
    assert "tiny goes without adapters and draft model; with them" in caplog.text
    assert "incorrect shape" in caplog.text


def test_a_draft_model_of_the_same_family_drafts(tiny_gguf: Path, minilm_gguf: Path, tmp_path: Path) -> None:
    async def run(draft: Path) -> bool:
        put(tmp_path, draft, name="draft.gguf")
        async with engine(tmp_path, tiny_gguf, speculative={"model": "models/draft.gguf"}) as house:
            return bool(get(await house.acquire("tiny"), "/slots")[1][0]["speculative"])

    assert asyncio.run(run(tiny_gguf))
    assert not asyncio.run(run(minilm_gguf))


def test_a_reranker_reranks(minilm_gguf: Path, tmp_path: Path) -> None:
    """The embedder with another pooling: its scores mean nothing, its answers have the right form."""
    pooling = b"bert.pooling_type" + struct.pack("<I", 4)
    raw = minilm_gguf.read_bytes().replace(pooling + struct.pack("<I", 1), pooling + struct.pack("<I", 4))

    async def run() -> None:
        async with engine(tmp_path) as house:
            (tmp_path / "models/ranker.gguf").write_bytes(raw)
            assert model(house, "ranker").kinds == {"rerank"}
            lease = await house.acquire("ranker")
            asked = {"query": "a bear", "documents": ["a panda", "a car"]}
            status, answer = await asyncio.to_thread(post, lease, "/v1/rerank", asked)
            assert (status, sorted(row["index"] for row in answer["results"])) == (200, [0, 1])
            assert await house.trial(tmp_path / "models/ranker.gguf") == ""

    asyncio.run(run())


HANG_UPS = {
    "while it answers": say("hello", max_tokens=-1, ignore_eos=True),
    "while it reads a long prompt": say("x y " * 1900, max_tokens=1, cache_prompt=False),
}


@pytest.mark.parametrize("when", HANG_UPS)
def test_a_hang_up_stops_the_work_when_progress_was_asked_for(
    tiny_gguf: Path, tmp_path: Path, when: str
) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, context=8192) as house:
            lease = await house.acquire("tiny")
            asked = HANG_UPS[when] | {"stream": True, "return_progress": True}
            with open_stream(lease, asked):
                await until(lambda: busy_slots(lease) == 1)
            async with asyncio.timeout(1):
                await until(lambda: busy_slots(lease) == 0)

    asyncio.run(run())
