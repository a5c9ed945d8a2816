"""How the house and the library's process talk."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from casona.exchange.errors import CasonaError, NoNodeReady, NotFound, OutOfSpace, PromptTooLong
from casona.library.frames import HEAD, MAX_FRAME_BYTES, Gone, Peer, Serve, Tell


async def silent(_method: str, _arguments: dict[str, Any], _tell: Tell) -> Any:
    raise AssertionError


End = tuple[Peer, asyncio.StreamWriter]


async def ends(one: Serve, other: Serve) -> tuple[End, End]:
    """Two peers joined, as a parent and its child are."""
    sockets = socket.socketpair()
    streams = [await asyncio.open_connection(sock=each) for each in sockets]
    made = [(Peer(*stream, serve), stream[1]) for stream, serve in zip(streams, (one, other), strict=True)]
    return made[0], made[1]


def talk(
    serve: Serve, story: Callable[[Peer, asyncio.StreamWriter], Awaitable[None]], back: Serve = silent
) -> None:
    """Run a story at one end; `serve` answers at the other, `back` at the story's own."""

    async def main() -> None:
        async with asyncio.timeout(20):
            (far, _), (near, writer) = await ends(serve, back)
            running = [asyncio.create_task(peer.run()) for peer in (far, near)]
            await story(near, writer)
            writer.close()
            await asyncio.gather(*running)

    uvloop.run(main())


def test_answers_come_back_in_any_order() -> None:
    first = asyncio.Event()

    async def serve(method: str, arguments: dict[str, Any], _tell: Tell) -> Any:
        if method == "slow":
            await first.wait()
        else:
            first.set()
        return arguments

    async def story(peer: Peer, _writer: asyncio.StreamWriter) -> None:
        slow, fast = asyncio.create_task(peer.call("slow", n=1)), asyncio.create_task(peer.call("fast", n=2))
        assert await asyncio.gather(slow, fast) == [{"n": 1}, {"n": 2}]

    talk(serve, story)


def test_progress_is_told_before_the_answer() -> None:
    async def serve(_method: str, _arguments: dict[str, Any], tell: Tell) -> Any:
        await asyncio.to_thread(lambda: [tell(step) for step in (1, 2)])
        return "done"

    async def story(peer: Peer, _writer: asyncio.StreamWriter) -> None:
        told: list[Any] = []
        assert (await peer.call("work", tell=told.append), told) == ("done", [1, 2])

    talk(serve, story)


def test_either_side_may_call_while_it_is_called() -> None:
    async def story(peer: Peer, _writer: asyncio.StreamWriter) -> None:
        assert await peer.call("ask") == "blue"

    async def main() -> None:
        async def far(_method: str, _arguments: dict[str, Any], _tell: Tell) -> Any:
            return await peers[0][0].call("colour")

        async def near(method: str, _arguments: dict[str, Any], _tell: Tell) -> Any:
            return {"colour": "blue"}[method]

        peers = await ends(far, near)
        running = [asyncio.create_task(peer.run()) for peer, _ in peers]
        await story(*peers[1])
        peers[1][1].close()
        await asyncio.gather(*running)

    uvloop.run(main())


@pytest.mark.parametrize(
    ("raised", "kind", "status", "message"),
    [
        (NotFound("no such page", param="page"), NotFound, 404, "no such page"),
        (OutOfSpace("full"), OutOfSpace, 507, "full"),
        (NoNodeReady("loading"), NoNodeReady, 503, "loading"),
        (PromptTooLong(prompt_tokens=9, context_tokens=5), CasonaError, 400, "the prompt has 9 tokens"),
        (Gone("ended"), CasonaError, 503, "ended"),
    ],
)
def test_errors_cross_as_what_they_are(
    raised: CasonaError, kind: type[CasonaError], status: int, message: str
) -> None:
    async def serve(_method: str, _arguments: dict[str, Any], _tell: Tell) -> Any:
        raise raised

    async def story(peer: Peer, _writer: asyncio.StreamWriter) -> None:
        with pytest.raises(CasonaError, match=message) as told:
            await peer.call("work")
        assert (type(told.value), told.value.status, told.value.param) == (kind, status, raised.param)

    talk(serve, story)


def test_a_fault_of_the_program_tells_no_details(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(_method: str, _arguments: dict[str, Any], _tell: Tell) -> Any:
        raise KeyError("secret")

    async def story(peer: Peer, _writer: asyncio.StreamWriter) -> None:
        with pytest.raises(CasonaError, match=r"^work failed \(KeyError\); see the log$"):
            await peer.call("work")

    talk(serve, story)
    assert "secret" in caplog.text


def test_calls_that_wait_are_told_when_the_other_side_ends() -> None:
    async def serve(_method: str, _arguments: dict[str, Any], _tell: Tell) -> Any:
        await asyncio.Event().wait()

    async def story(peer: Peer, writer: asyncio.StreamWriter) -> None:
        waiting = asyncio.create_task(peer.call("work"))
        await asyncio.sleep(0)
        writer.close()
        with pytest.raises(Gone):
            await waiting
        with pytest.raises(Gone):
            await peer.call("work")

    talk(serve, story)


@pytest.mark.parametrize("nonsense", [HEAD.pack(MAX_FRAME_BYTES + 1), HEAD.pack(3) + b"\xc1\xc1\xc1"])
def test_nonsense_ends_the_talk(nonsense: bytes) -> None:
    async def story(peer: Peer, writer: asyncio.StreamWriter) -> None:
        writer.write(nonsense)
        with pytest.raises(Gone):
            await peer.call("work")

    talk(silent, story)
