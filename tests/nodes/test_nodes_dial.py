"""Names with several addresses: the first that answers is taken."""

import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.nodes.pools import fetched
from tests.scripted_node import ScriptedNode, until, whole

from casona.exchange.errors import NodeFailed, NodeTimedOut
from casona.nodes.dial import _interleaved
from casona.nodes.http import Origin, Pool
from casona.settings import Timeouts

Name = Callable[..., None]
DEAF = "127.0.0.2" if sys.platform == "linux" else "::1"  # elsewhere loopback is one address


@pytest.fixture
def name_points_to(monkeypatch: pytest.MonkeyPatch) -> Name:
    """`name_points_to("::1", "127.0.0.1")`: what the resolver says of every name."""

    def point(*addresses: str) -> None:
        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            return [
                (
                    socket.AF_INET6 if ":" in address else socket.AF_INET,
                    socket.SOCK_STREAM,
                    6,
                    "",
                    (address, port),
                )
                for address in addresses
            ]

        monkeypatch.setattr("casona.nodes.dial._resolve", getaddrinfo)

    return point


@pytest.mark.parametrize(
    "addresses", [("::1", "127.0.0.1"), ("127.0.0.1", "::1"), ("127.0.0.3", "127.0.0.1")]
)
async def test_a_dead_address_beside_a_live_one_does_no_harm(
    addresses: tuple[str], name_points_to: Name
) -> None:
    name_points_to(*addresses)
    async with ScriptedNode([whole(b"ok")]) as node:
        pool = Pool(Origin.of("box", f"http://box.example:{node.port}"), Timeouts())
        assert await fetched(pool) == (200, b"ok")
        assert node.received[0].headers["host"] == f"box.example:{node.port}"
        await pool.close()


async def test_an_address_that_does_not_answer_is_overtaken(name_points_to: Name) -> None:
    with deaf_listener() as port:
        name_points_to(DEAF, "127.0.0.1")
        async with ScriptedNode([whole(b"ok")], port=port) as node:
            pool = Pool(Origin.of("box", f"http://box.example:{port}"), Timeouts(connect_s=5))
            assert await fetched(pool) == (200, b"ok")
            assert node.connections == 1
            await pool.close()


async def test_no_connection_but_the_winner_stays_open(name_points_to: Name) -> None:
    name_points_to("127.0.0.1", "127.0.0.2", "127.0.0.3")
    async with ScriptedNode([whole(b"ok")], host="0.0.0.0") as node:
        pool = Pool(Origin.of("box", f"http://box.example:{node.port}"), Timeouts())
        await fetched(pool)
        await until(lambda: node.open == 1)
        await pool.close()
        await until(lambda: node.open == 0)


async def test_a_name_whose_addresses_are_all_dead_is_a_failure(name_points_to: Name) -> None:
    name_points_to("127.0.0.2", "127.0.0.3")
    async with ScriptedNode([]) as node:
        pool = Pool(Origin.of("box", f"http://box.example:{node.port}"), Timeouts())
        with pytest.raises(NodeFailed, match=r"^node 'box' can't be reached: "):
            await pool.get("/")


async def test_a_race_that_takes_too_long_is_given_up(name_points_to: Name) -> None:
    with deaf_listener() as port:
        name_points_to(DEAF, DEAF)
        pool = Pool(Origin.of("box", f"http://box.example:{port}"), Timeouts(connect_s=0.05))
        with pytest.raises(NodeTimedOut, match="did not take a connection"):
            await pool.get("/")


async def test_the_loopback_name_is_found_by_the_real_resolver() -> None:
    async with ScriptedNode([whole(b"ok")]) as node:
        pool = Pool(Origin.of("box", f"http://localhost:{node.port}"), Timeouts())
        assert await fetched(pool) == (200, b"ok")
        await pool.close()


class deaf_listener:
    """A listener whose queue is full: connections to it hang, as behind a silent firewall."""

    def __enter__(self) -> int:
        family = socket.AF_INET6 if ":" in DEAF else socket.AF_INET
        self.listener = socket.socket(family)
        self.listener.bind((DEAF, 0))
        self.listener.listen(0)
        address = self.listener.getsockname()
        self.waiting = [socket.socket(family) for _ in range(4)]
        for each in self.waiting:
            each.setblocking(False)
            each.connect_ex(address)
        return int(address[1])

    def __exit__(self, *_: object) -> None:
        for each in [*self.waiting, self.listener]:
            each.close()


def test_addresses_alternate_between_the_families() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    found = [(six, "::1"), (six, "::2"), (four, "10.0.0.1"), (six, "::1"), (four, "10.0.0.2")]
    assert _interleaved(found) == ["::1", "10.0.0.1", "::2", "10.0.0.2"]
