"""Finding an Ollama server on this machine. Casona answers Ollama's probe too and must not find itself."""

import asyncio
from collections.abc import Collection
from urllib.parse import urlsplit

import msgspec

from casona.exchange.errors import CasonaError
from casona.exchange.zones import Zone
from casona.nodes.http import Origin, Pool
from casona.nodes.ollama import OllamaNode
from casona.settings import Timeouts

URL = "http://127.0.0.1:11434"
WAIT_S = 1.0
LOOPBACK = {"127.0.0.1", "localhost", "::1", "0.0.0.0"}  # noqa: S104 - compared, not listened at
NOT_FOUND = 404


async def discover(
    timeouts: Timeouts, *, names: Collection[str], urls: Collection[str], url: str = URL
) -> OllamaNode | None:
    """The Ollama server at `url` as a node, None when none is there within a second.

    `names` and `urls` are those of the configured nodes: a server that has been configured is left
    alone, and a name that is taken gets a number.
    """
    if any(_same_place(url, other) for other in urls):
        return None
    name = _free_name(names)
    pool = Pool(Origin.of(name, url), timeouts)
    try:
        async with asyncio.timeout(WAIT_S):
            found = await _is_ollama(pool)
    except (CasonaError, TimeoutError):
        found = False
    if not found:
        await pool.close()
        return None
    return OllamaNode(name, Zone.LOCAL, pool)


async def _is_ollama(pool: Pool) -> bool:
    """Ollama tells its version and knows no /health; Casona has one, whoever asks."""
    version = await pool.get("/api/version")
    body = await version.read()
    if version.status != 200 or not _has_version(body):
        return False
    health = await pool.get("/health")
    await health.read()
    return health.status == NOT_FOUND


def _has_version(body: bytes) -> bool:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and isinstance(found.get("version"), str)


def _same_place(one: str, other: str) -> bool:
    first, second = urlsplit(one), urlsplit(other)
    if _port(one) != _port(other):
        return False
    return first.hostname == second.hostname or {first.hostname, second.hostname} <= LOOPBACK


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _free_name(names: Collection[str]) -> str:
    if "ollama" not in names:
        return "ollama"
    number = 2
    while f"ollama-{number}" in names:
        number += 1
    return f"ollama-{number}"
