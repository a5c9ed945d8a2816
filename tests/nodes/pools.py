"""A pool for a scripted node, with timeouts that a test can wait for, and certificates for it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.scripted_node import ScriptedNode

from casona.nodes.http import Origin, Pool
from casona.settings import Timeouts


def pool_for(node: ScriptedNode, **timeouts: Any) -> Pool:
    """Unless told otherwise nothing is closed for being idle, so that a test sees why it was closed."""
    return Pool(Origin.of("box", node.url), Timeouts(**({"pool_idle_s": 600} | timeouts)))


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate and a server that shows it."""

    ca_file: Path
    server: ssl.SSLContext


@asynccontextmanager
async def pooled(*scripts: Any, **timeouts: Any) -> AsyncIterator[tuple[ScriptedNode, Pool]]:
    """A scripted node and a pool for it."""
    async with ScriptedNode(*scripts) as node:
        pool = pool_for(node, **timeouts)
        try:
            yield node, pool
        finally:
            await pool.close()


async def fetched(pool: Pool, path: str = "/") -> tuple[int, bytes]:
    """One answer, read to its end."""
    response = await pool.post(path, b"{}")
    return response.status, await response.read()
