"""A system llama-server as the child instead of the built-in engine."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from tests.engine.engine_house import engine, get, is_running, model, pid_of, post, say

from casona.engine.machine import Gpu, Machine

GPU = "  CUDA0: Pretend RTX (8192 MiB, 8000 MiB free)\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin/llama-server"
    path.parent.mkdir()
    source = (Path(__file__).parent / "llama_server.py").read_text()
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)
    (path.parent / "devices").write_text(GPU)
    return path


def called(program: Path) -> list[str]:
    words: list[str] = json.loads((program.parent / "called").read_text().splitlines()[-1])
    return words


def test_a_named_program_serves_with_a_key_that_nobody_sees(
    tiny_gguf: Path, program: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, program="bin/llama-server", parallel=2) as house:
            lease = await house.acquire("tiny")
            status, answer = await asyncio.to_thread(
                post, lease, "/v1/chat/completions", say("hi", max_tokens=2)
            )
            assert (status, answer["model"]) == (200, "tiny")
            assert get(lease, "/props", api_key="other")[0] == 401
            assert (lease.context_tokens, model(house, "tiny").device) == (2048, "cuda")
            port = lease.url.rpartition(":")[2]
            assert called(program) == [
                *("--model", str(tmp_path / "models/tiny.gguf"), "--alias", "tiny"),
                *("--ctx-size", "4096", "--parallel", "2", "--no-webui", "--slots", "--metrics"),
                *("--threads", called(program)[12], "--n-gpu-layers", "999", "--device", "CUDA0"),
                *("--host", "127.0.0.1", "--port", port),
            ]

    asyncio.run(run())


def test_a_program_ends_with_the_engine(tiny_gguf: Path, program: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, program=str(program)) as house:
            pid = pid_of(await house.acquire("tiny"))
        assert not is_running(pid)

    asyncio.run(run())


def test_a_program_that_cannot_load_is_quoted(tiny_gguf: Path, program: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, program=str(program)) as house:
            odd = tmp_path / "odd.gguf"
            odd.write_bytes(tiny_gguf.read_bytes().replace(b"llama", b"lamma"))
            assert "unknown model architecture: 'lamma'" in await house.trial(odd)

    asyncio.run(run())


def test_what_an_old_program_cannot_do_is_told(minilm_gguf: Path, program: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, program=str(program)) as house:
            assert await house.trial(minilm_gguf) == "this llama-server does not know --embeddings"

    asyncio.run(run())


def test_with_a_gpu_the_program_is_found_on_path(
    tiny_gguf: Path, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(usable_bytes=8 * 2**30, cores=2, gpus=(Gpu(kind="cuda", name="Pretend RTX"),))
    monkeypatch.setattr("casona.engine.machine.look", lambda: machine)
    monkeypatch.setenv("PATH", str(program.parent))

    async def run() -> tuple[str, ...]:
        async with engine(tmp_path, tiny_gguf) as house:
            return await house.describe()

    assert asyncio.run(run()) == ("tiny on cuda (Pretend RTX), context 2048 tokens",)


def test_a_program_that_is_not_there_is_told(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, program="/nowhere/llama-server", threads=1) as house:
            assert await house.describe() == (
                "warning: engine.program: /nowhere/llama-server is not there or does not run; "
                "the built-in engine is used",
                "tiny on cpu, 1 threads, context 2048 tokens",
            )
            (await house.acquire("tiny")).release()

    asyncio.run(run())
