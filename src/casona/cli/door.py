"""How a command reaches its house: the server that runs it, a house elsewhere, or one of its own.

with open_door(home) as door:
    keys = door.get_json("/admin/keys")
"""

import http.client
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from casona.cli.client import Client
from casona.cli.output import CliError
from casona.home import Announcement, Home, HouseInUse

PROBE_TIMEOUT_S = 5.0
STARTING_S = 3.0  # another command may be about to end, or a server about to listen

__all__ = ["CliError", "Door", "open_door"]


class Door(Client):
    """An open way into a house. Close it: the house may have been opened for it alone."""

    def __init__(self, url: str, api_key: str, *, stack: ExitStack | None = None) -> None:
        super().__init__(url, api_key)
        self._stack = stack or ExitStack()

    def close(self) -> None:
        self.hang_up()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_door(home: Home, environ: Mapping[str, str] = os.environ) -> Door:
    """A way into the house that CASONA_URL names (with CASONA_API_KEY), else into the one at `home`.

    Where no server runs, one is started inside this process and ends with the door.
    Raises CliError, HouseInUse, and whatever keeps a house from opening.
    """
    if url := environ.get("CASONA_URL"):
        return _elsewhere(url, environ.get("CASONA_API_KEY"))
    deadline = time.monotonic() + STARTING_S
    while True:
        announcement = home.announcement()
        if announcement is not None and _is_true(announcement):
            return Door(announcement.url, _key_of(home, environ))
        try:
            return _of_its_own(home, environ)
        except HouseInUse:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _elsewhere(url: str, api_key: str | None) -> Door:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CliError(f"CASONA_URL is {url!r}; it must look like http://192.168.1.5:8080")
    if not api_key:
        raise CliError("CASONA_URL names a house elsewhere; put a key of it into CASONA_API_KEY")
    return Door(url, api_key)


def _of_its_own(home: Home, environ: Mapping[str, str]) -> Door:
    from casona import running

    stack = ExitStack()
    house = stack.enter_context(running.temporary_house(home, environ))
    return Door(house.url, house.api_key, stack=stack)


def _key_of(home: Home, environ: Mapping[str, str]) -> str:
    key = home.admin_key() or environ.get("CASONA_API_KEY")
    if not key:
        raise CliError(f"{home.admin_key_path} is missing; put a key of this house into CASONA_API_KEY")
    return key


def _is_true(announcement: Announcement) -> bool:
    """Whether the server that announced itself is the one that answers; no key is sent before that."""
    with suppress(OSError, http.client.HTTPException, ValueError, CliError):
        probe = Client(announcement.url, "", timeout_s=PROBE_TIMEOUT_S)
        state = probe.get_json("/health")
        return isinstance(state, dict) and state.get("instance") == announcement.instance
    return False
