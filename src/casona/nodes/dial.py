"""Opening a connection: all addresses of a name are raced, as RFC 8305 ("Happy Eyeballs") says.

asyncio's own `happy_eyeballs_delay` is missing in uvloop.
"""

import asyncio
import ipaddress
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

STAGGER_S = 0.25  # RFC 8305, section 5: the recommended delay between attempts

P = TypeVar("P", bound=asyncio.Protocol)
Resolved = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
Opened = tuple[asyncio.BaseTransport, P]


async def dial(make: Callable[[], P], host: str, port: int, *, tls: ssl.SSLContext | None) -> P:
    """Connect to the first address of `host` that answers. Raises OSError (of the first attempt)."""
    loop = asyncio.get_running_loop()

    def connect(address: str) -> Awaitable[Opened[P]]:
        return loop.create_connection(make, address, port, ssl=tls, server_hostname=host if tls else None)

    addresses = await _addresses(host, port)
    if len(addresses) == 1:
        return (await connect(addresses[0]))[1]
    return await _race(connect, addresses)


async def _addresses(host: str, port: int) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host))]  # an address needs no resolver, nor its thread
    except ValueError:
        found = await _resolve(host, port)
        return _interleaved([(family, str(address[0])) for family, _, _, _, address in found])


async def _resolve(host: str, port: int) -> Sequence[Resolved]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _interleaved(found: list[tuple[socket.AddressFamily, str]]) -> list[str]:
    """One address of each family in turn, in the resolver's order, no duplicates."""
    by_family: dict[socket.AddressFamily, list[str]] = {}
    for family, address in found:
        by_family.setdefault(family, []).append(address)
    turns = itertools.zip_longest(*by_family.values())
    return list(dict.fromkeys(address for turn in turns for address in turn if address))


async def _race(connect: Callable[[str], Awaitable[Opened[P]]], addresses: list[str]) -> P:
    running: set[asyncio.Future[Opened[P]]] = set()
    faults: list[BaseException] = []
    waiting = iter(addresses)
    try:
        while True:
            address = next(waiting, None)
            if address is not None:
                running.add(asyncio.ensure_future(connect(address)))
            elif not running:
                raise faults[0]
            stagger_s = STAGGER_S if address is not None else None
            done, running = await asyncio.wait(
                running, timeout=stagger_s, return_when=asyncio.FIRST_COMPLETED
            )
            faults += [fault for task in done if (fault := task.exception()) is not None]
            opened = [task.result() for task in done if task.exception() is None]
            for transport, _ in opened[1:]:
                transport.close()
            if opened:
                return opened[0][1]
    finally:
        for task in running:
            _give_up(task)


def _give_up(task: asyncio.Future[Opened[P]]) -> None:
    """A race that was lost, or left: what has opened meanwhile is closed."""
    if task.cancel() or task.cancelled():
        return
    if task.exception() is None:
        cast(asyncio.Transport, task.result()[0]).abort()
