"""uvicorn, set up as the settings say, on a socket that is bound beforehand."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from casona.exchange.errors import CasonaError
from casona.settings import Server as ServerSettings
from casona.web.connection import timed

BACKLOG = 2048

LAST_WORDS_S = 2.0
"""For those that were cut off to tidy up: stop the node's work, settle their usage, tell their client."""


class PortBusy(CasonaError):
    """Somebody else listens there."""


def bind(host: str, port: int) -> socket.socket:
    """A listening address. Raises PortBusy, or CasonaError for an address that isn't this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(BACKLOG)
    except OSError as fault:
        found.close()
        if fault.errno == errno.EADDRINUSE:
            raise PortBusy(
                f"port {port} on {host} is taken; choose another: make serve PORT={port + 1}, "
                f"or casona serve --port {port + 1}"
            ) from fault
        raise CasonaError(f"can't listen on {host}:{port}: {fault.strerror or fault}") from fault
    found.setblocking(False)
    return found


def url_of(listening: socket.socket) -> str:
    """Where a person on this machine reaches it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """A server that ends what would outlast its patience before it waits for running answers."""

    def __init__(self, config: uvicorn.Config, before_stop: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._before_stop = before_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._before_stop()
        await super().shutdown(sockets)
        if self.server_state.tasks:  # cancelled by now
            await asyncio.wait(set(self.server_state.tasks), timeout=LAST_WORDS_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # a client that does not read would hold the loop open for ever


def server(app: Any, settings: ServerSettings, *, before_stop: Callable[[], Awaitable[None]]) -> Server:
    """A server for `app`; `await server.serve(sockets=[...])` runs it until a signal or `should_exit`."""
    config = uvicorn.Config(
        app,
        http=timed(settings.header_timeout_s, settings.body_timeout_s),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(settings.keep_alive_s),
        timeout_graceful_shutdown=int(settings.stop_timeout_s),
    )
    return Server(config, before_stop)
