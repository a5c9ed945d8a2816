"""Several models in little memory: two copies of the tiny model, and room for one of them."""

import asyncio
from pathlib import Path

import pytest
from tests.engine.engine_house import engine, is_running, pid_of, put, until

from casona.engine.engine import Engine
from casona.engine.loaded import Loaded
from casona.engine.room import Room
from casona.engine.shelf import Shelf
from casona.engine.sizing import Sizing
from casona.exchange.errors import NoNodeReady

ROOM_FOR_ONE = {"memory_bytes": 100 * 2**20, "cache_bytes": 0, "parallel": 1}

SIZING = Sizing(context_tokens=2048, parallel=1, memory_bytes=100)


def states(engine: Engine) -> dict[str, str]:
    return {model.name: model.state for model in engine.models()}


@pytest.fixture
def two(tiny_gguf: Path, tmp_path: Path) -> Path:
    put(tmp_path, tiny_gguf, name="one.gguf")
    put(tmp_path, tiny_gguf, name="two.gguf")
    return tmp_path


def test_an_idle_model_makes_room_for_another(two: Path) -> None:
    async def run() -> None:
        async with engine(two, **ROOM_FOR_ONE) as house:
            lease = await house.acquire("one")
            pid = pid_of(lease)
            lease.release()
            (await house.acquire("two")).release()
            assert (states(house), is_running(pid)) == ({"one": "asleep", "two": "ready"}, False)

    asyncio.run(run())


def test_a_busy_model_is_waited_for(two: Path) -> None:
    async def run() -> None:
        async with engine(two, **ROOM_FOR_ONE) as house:
            first = await house.acquire("one")
            second = asyncio.create_task(house.acquire("two"))
            await until(lambda: states(house)["two"] == "loading")
            (await house.acquire("one")).release()
            assert not second.done()
            first.release()
            (await second).release()
            assert states(house) == {"one": "asleep", "two": "ready"}

    asyncio.run(run())


def test_after_the_wait_a_busy_model_admits_nobody_and_goes(two: Path) -> None:
    async def run() -> None:
        async with engine(two, evict_wait_s=0.05, **ROOM_FOR_ONE) as house:
            first = await house.acquire("one")
            pid = pid_of(first)
            second = asyncio.create_task(house.acquire("two"))
            await until(lambda: states(house)["one"] == "draining")
            again = asyncio.create_task(house.acquire("one"))
            await until(lambda: states(house)["one"] == "loading")
            assert (is_running(pid), second.done(), again.done()) == (True, False, False)
            first.release()
            (await second).release()
            (await again).release()
            assert states(house) == {"one": "ready", "two": "asleep"}

    asyncio.run(run())


def test_when_no_memory_comes_free_the_caller_is_told_to_come_again(two: Path) -> None:
    async def run() -> None:
        async with engine(two, load_wait_s=1, evict_wait_s=60, **ROOM_FOR_ONE) as house:
            first = await house.acquire("one")
            with pytest.raises(NoNodeReady, match="'two' waits for memory that other models use"):
                await house.acquire("two")
            assert states(house) == {"one": "ready", "two": "loading"}
            first.release()
            await until(lambda: states(house) == {"one": "asleep", "two": "ready"})

    asyncio.run(run())


def test_nobody_is_drained_for_a_load_that_nobody_waits_for(two: Path) -> None:
    async def run() -> None:
        one, other = (
            Loaded(file=file, keep_alive_s=0, sizing=SIZING) for file in Shelf(two / "models").scan()
        )
        retired: list[Loaded] = []
        room = Room(retired.append, evict_wait_s=0)
        await room.take(one, SIZING.memory_bytes)
        one.state, one.users = "ready", 1
        taking = asyncio.create_task(room.take(other, SIZING.memory_bytes))
        await asyncio.sleep(0)
        assert retired == []
        other.waiters = 1
        room.changed()
        await until(lambda: retired == [one])
        room.leave(one)
        await taking

    asyncio.run(run())


def test_a_stop_does_not_wait_for_memory(two: Path) -> None:
    async def run() -> None:
        async with engine(two, **ROOM_FOR_ONE) as house:
            await house.acquire("one")
            waiting = asyncio.create_task(house.acquire("two"))
            await until(lambda: states(house)["two"] == "loading")
            async with asyncio.timeout(5):
                await house.stop()
            with pytest.raises(NoNodeReady, match="stopping"):
                await waiting

    asyncio.run(run())


def test_a_model_that_fits_passes_one_that_waits(two: Path, tiny_gguf: Path) -> None:
    """Room for two; the first in the queue needs both places, one of them is free."""

    async def run() -> None:
        settings = {**ROOM_FOR_ONE, "memory_bytes": 130 * 2**20}
        async with engine(two, **settings) as house:
            put(two, tiny_gguf, name="three.gguf")
            with (two / "models/three.gguf").open("ab") as file:
                file.truncate(70 * 2**20)
            first = await house.acquire("one")
            large = asyncio.create_task(house.acquire("three"))
            await until(lambda: states(house)["three"] == "loading")
            (await house.acquire("two")).release()
            assert not large.done()
            first.release()
            (await large).release()
            assert states(house) == {"one": "asleep", "two": "asleep", "three": "ready"}

    asyncio.run(run())
