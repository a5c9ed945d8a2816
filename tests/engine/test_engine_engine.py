"""Models come when they are asked for, and go when they are not: the real engine on a tiny model."""

import asyncio
import contextlib
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop
from tests.engine import gguf_files
from tests.engine.engine_house import MIB, engine, get, is_running, model, pid_of, post, put, say, until

from casona.engine.engine import Engine
from casona.engine.loaded import Lease
from casona.exchange.errors import BadRequest, CasonaError, ModelNotFound, NodeFailed, NoNodeReady


async def state(engine: Engine, name: str, wanted: str) -> None:
    await until(lambda: model(engine, name).state == wanted)


def test_a_model_is_loaded_on_first_use_and_chats(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            asleep = model(house, "tiny")
            lease = await house.acquire("tiny")
            status, answer = await asyncio.to_thread(
                post, lease, "/v1/chat/completions", say("hello", max_tokens=4)
            )
            assert (status, answer["model"], answer["usage"]["completion_tokens"]) == (200, "tiny", 4)
            ready = model(house, "tiny")
            assert (asleep.state, asleep.kinds, asleep.memory_bytes) == ("asleep", {"chat"}, 0)
            assert (ready.state, ready.busy, ready.parallel, ready.device) == ("ready", 1, 4, "cpu")
            assert ready.context_tokens == lease.context_tokens == 2048

    asyncio.run(run())


def test_each_slot_has_the_whole_context_to_itself(tiny_gguf: Path, tmp_path: Path) -> None:
    """Four long prompts at once fill four contexts; with a shared cache they would fail each other."""

    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny")
            prompts = [say(f"{number} " + "x y " * 480, max_tokens=100) for number in range(4)]
            answers = await asyncio.gather(
                *(asyncio.to_thread(post, lease, "/v1/chat/completions", prompt) for prompt in prompts)
            )
            assert [status for status, _ in answers] == [200] * 4
            assert {answer["usage"]["prompt_tokens"] for _, answer in answers} == {1939}
            assert [slot["n_ctx"] for slot in get(lease, "/slots")[1]] == [2048] * 4

    asyncio.run(run())


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny")
            for fields in ({}, {"stream": True, "return_progress": True}):
                body = say("x y " * 1000, **fields)
                status, answer = await asyncio.to_thread(post, lease, "/v1/chat/completions", body)
                error = answer["error"]
                assert (status, error["type"]) == (400, "exceed_context_size_error")
                assert (error["n_prompt_tokens"], error["n_ctx"]) == (4017, 2048)

    asyncio.run(run())


def test_the_child_is_closed_to_whoever_has_no_key(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny")
            assert lease.url.startswith("http://127.0.0.1:")
            assert [get(lease, path, api_key="other")[0] for path in ("/props", "/slots")] == [401, 401]

    asyncio.run(run())


def test_control_c_is_not_for_the_children(tiny_gguf: Path, tmp_path: Path) -> None:
    """They have a session of their own: the house ends them when the running answers have ended."""

    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            pid = pid_of(await house.acquire("tiny"))
            assert os.getsid(pid) == pid != os.getsid(0)

    asyncio.run(run())


def test_an_embedding_model_embeds(minilm_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, minilm_gguf) as house:
            lease = await house.acquire("minilm")
            body = {"input": ["the house", "la casa"]}
            status, answer = await asyncio.to_thread(post, lease, "/v1/embeddings", body)
            assert (status, [len(row["embedding"]) for row in answer["data"]]) == (200, [384, 384])
            assert (model(house, "minilm").kinds, lease.context_tokens) == ({"embed"}, 512)

    asyncio.run(run())


def test_several_models_are_loaded_at_once(tiny_gguf: Path, minilm_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, minilm_gguf) as house:
            first, second = await asyncio.gather(house.acquire("tiny"), house.acquire("minilm"))
            assert first.url != second.url
            assert {one.state for one in house.models()} == {"ready"}

    asyncio.run(run())


def test_a_name_is_found_exactly_or_as_its_latest(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny:latest")
            assert lease.model.name == "tiny"
            with pytest.raises(ModelNotFound, match="no model 'tony'"):
                await house.acquire("tony")

    asyncio.run(run())


def test_requests_that_come_together_share_one_load(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            leases = await asyncio.gather(*(house.acquire("tiny") for _ in range(5)))
            assert len({lease.url for lease in leases}) == 1
            assert model(house, "tiny").busy == 5
            for lease in leases:
                lease.release()
                lease.release()
            assert model(house, "tiny").busy == 0

    asyncio.run(run())


def test_a_client_that_leaves_does_not_kill_the_load(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            client = asyncio.create_task(house.acquire("tiny"))
            await state(house, "tiny", "loading")
            client.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await client
            await state(house, "tiny", "ready")
            assert model(house, "tiny").busy == 0

    asyncio.run(run())


def test_a_load_that_outlasts_the_wait_goes_on(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, load_wait_s=0) as house:
            with pytest.raises(NoNodeReady, match="'tiny' is loading") as told:
                await house.acquire("tiny")
            assert 1 <= told.value.retry_after_s <= 60
            await state(house, "tiny", "ready")
            (await house.acquire("tiny")).release()

    asyncio.run(run())


def test_an_unused_model_leaves_when_its_time_is_over(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, keep_alive="50ms") as house:
            lease = await house.acquire("tiny")
            pid = pid_of(lease)
            assert model(house, "tiny").expires_at == math.inf
            lease.release()
            assert model(house, "tiny").expires_at < math.inf
            await state(house, "tiny", "asleep")
            assert not is_running(pid)

    asyncio.run(run())


def test_a_request_may_say_how_long_its_model_stays(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, keep_alive="0") as house:
            (await house.acquire("tiny", keep_alive="-1")).release()
            assert (model(house, "tiny").state, model(house, "tiny").expires_at) == ("ready", math.inf)
            (await house.acquire("tiny", keep_alive="0")).release()
            await state(house, "tiny", "asleep")
            with pytest.raises(BadRequest, match="keep_alive"):
                await house.acquire("tiny", keep_alive="soon")

    asyncio.run(run())


def test_an_unloaded_model_ends_when_its_users_have_gone(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny")
            assert house.unload("tiny:latest")
            assert model(house, "tiny").state == "draining"
            fresh = await house.acquire("tiny")
            assert fresh.url != lease.url
            assert is_running(pid_of(lease))
            lease.release()
            fresh.release()
            await until(lambda: house.unload("tiny"))
            await state(house, "tiny", "asleep")
            assert not house.unload("tiny")

    asyncio.run(run())


@pytest.mark.parametrize("loop", [asyncio, uvloop])
def test_a_killed_child_is_told_and_replaced(tiny_gguf: Path, tmp_path: Path, loop: object) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny")
            os.kill(pid_of(lease), signal.SIGKILL)
            assert await lease.cause_of_death() == (
                "its process was ended by SIGKILL, perhaps for lack of memory"
            )
            assert model(house, "tiny").state == "asleep"
            async with asyncio.timeout(3):
                fresh = await house.acquire("tiny")
            lease.release()
            assert (get(fresh, "/health")[0], model(house, "tiny").busy) == (200, 1)
            assert await fresh.cause_of_death(wait_s=0) == ""

    (uvloop.run if loop is uvloop else asyncio.run)(run())


def test_a_child_killed_while_it_loads_is_replaced_once(tiny_gguf: Path, tmp_path: Path) -> None:
    """Somebody killed it: no reason to give the model up. Killed again, it is for lack of memory."""

    async def kill_one() -> None:
        await until(lambda: bool(psutil.Process().children()))
        for child in psutil.Process().children():
            child.kill()
            await until(lambda: not is_running(child.pid))  # noqa: B023

    async def run(kills: int) -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            await house.describe()
            asked = asyncio.create_task(house.acquire("tiny"))
            for _ in range(kills):
                await kill_one()
            (await asked).release()

    asyncio.run(run(1))
    with pytest.raises(NodeFailed, match="'tiny' cannot be served: it did not load: its process was ended"):
        asyncio.run(run(2))


def test_a_replaced_file_is_loaded_anew(tiny_gguf: Path, minilm_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            old = await house.acquire("tiny")
            put(tmp_path, minilm_gguf, name="tiny.gguf")
            new = await house.acquire("tiny")
            assert (old.context_tokens, new.context_tokens) == (2048, 512)
            old.release()
            await until(lambda: not is_running_at(old))

    asyncio.run(run())


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(b"")])
def test_a_model_leaves_with_its_file(
    tiny_gguf: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny")
            lease.release()
            spoil(tmp_path / "models/tiny.gguf")
            with pytest.raises(CasonaError, match=r"has no model 'tiny'|it is empty"):
                await house.acquire("tiny")
            await until(lambda: not is_running_at(lease))

    asyncio.run(run())


def is_running_at(lease: Lease) -> bool:
    try:
        return get(lease, "/health")[0] == 200
    except OSError:
        return False


def test_a_broken_file_is_listed_with_its_reason_and_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            whole = tiny_gguf.read_bytes()
            (tmp_path / "models/half.gguf").write_bytes(whole[: len(whole) // 2])
            assert "cut short" in model(house, "half").broken
            with pytest.raises(BadRequest, match="'half' cannot be served: it is cut short"):
                await house.acquire("half")
            (await house.acquire("tiny")).release()

    asyncio.run(run())


def unloadable(tiny_gguf: Path) -> bytes:
    """A model whose header is fine and whose architecture llama.cpp does not know."""
    return tiny_gguf.read_bytes().replace(b"llama", b"lamma")


def test_a_model_that_does_not_load_says_why_and_is_not_tried_for_each(
    tiny_gguf: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        async with engine(tmp_path) as house:
            (tmp_path / "models/odd.gguf").write_bytes(unloadable(tiny_gguf))
            both = await asyncio.gather(house.acquire("odd"), house.acquire("odd"), return_exceptions=True)
            with pytest.raises(NodeFailed, match="unknown model architecture: 'lamma'"):
                raise both[0]  # type: ignore[misc]
            assert (type(both[1]), str(both[1])) == (type(both[0]), str(both[0]))
            assert "unknown model architecture" in model(house, "odd").broken
            with pytest.raises(NodeFailed, match="unknown model architecture"):
                await house.acquire("odd")
            put(tmp_path, tiny_gguf, name="odd.gguf")
            (await house.acquire("odd")).release()
            assert model(house, "odd").broken == ""

    asyncio.run(run())


def test_a_trial_tells_what_works(tiny_gguf: Path, minilm_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path) as house:
            odd, half = tmp_path / "odd.gguf", tmp_path / "half.gguf"
            odd.write_bytes(unloadable(tiny_gguf))
            half.write_bytes(tiny_gguf.read_bytes()[:300_000])
            assert (await house.trial(tiny_gguf), await house.trial(minilm_gguf)) == ("", "")
            assert "unknown model architecture" in await house.trial(odd)
            assert "cut short" in await house.trial(half)
            assert house.models() == ()

    asyncio.run(run())


def test_a_trial_counts_all_parts_of_a_model(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, memory_bytes=100 * MIB) as house:
            first, second = gguf_files.shards(tmp_path / "big.gguf", 2)
            os.truncate(second, 200 * MIB)
            assert "of memory, and there are 100 MiB for models" in await house.trial(first)

    asyncio.run(run())


def test_models_are_warmed_at_start(
    tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, warm=("nobody", "tiny"), load_wait_s=0) as house:
            await state(house, "tiny", "ready")

    asyncio.run(run())
    assert "engine.warm: the engine has no model 'nobody'" in caplog.text


def test_the_start_tells_where_models_run(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, threads=3, device="cpu") as house:
            (tmp_path / "models/none.gguf").write_bytes(b"")
            assert await house.describe() == (
                "none cannot be served: it is empty",
                "tiny on cpu, 3 threads, context 2048 tokens",
            )

    asyncio.run(run())


def test_a_stopped_engine_leaves_no_child_and_takes_no_request(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            put(tmp_path, tiny_gguf, name="second.gguf")
            pid = pid_of(await house.acquire("tiny"))
            waiting = asyncio.create_task(house.acquire("second"))
            await state(house, "second", "loading")
            await house.stop()
            assert not is_running(pid)
            with pytest.raises(NoNodeReady, match="stopping"):
                await waiting
            with pytest.raises(NoNodeReady, match="stopping"):
                await house.acquire("tiny")

    asyncio.run(run())


def test_a_model_too_big_for_the_budget_is_refused_with_both_numbers(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf, memory_bytes=8 * MIB) as house:
            with pytest.raises(NodeFailed, match=r"needs \d+ MiB of memory, and there are 8 MiB for models"):
                await house.acquire("tiny")
            await house.describe()
            assert "8 MiB" in model(house, "tiny").broken

    asyncio.run(run())


def test_a_crash_is_told_in_llama_cpp_s_words_and_no_request_s(tiny_gguf: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, tiny_gguf) as house:
            lease = await house.acquire("tiny")
            await asyncio.to_thread(post, lease, "/v1/chat/completions", say("x y " * 1000))
            os.kill(pid_of(lease), signal.SIGABRT)
            assert await lease.cause_of_death() == "its process was ended by SIGABRT"

    asyncio.run(run())
