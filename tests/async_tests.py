"""Runs `async def` tests on the loop that the server runs on, each with a deadline."""

import asyncio

import pytest
import uvloop

DEADLINE_S = 30.0


def run(item: pytest.Function) -> bool | None:
    """Whether this was an async test, and has run; for the hook `pytest_pyfunc_call`."""
    if not asyncio.iscoroutinefunction(item.obj):
        return None
    names = item._fixtureinfo.argnames

    async def timed() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await item.obj(**{name: item.funcargs[name] for name in names})

    uvloop.run(timed())
    return True
