"""A desk over scripted nodes: real connections, exact bytes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from tests import async_tests
from tests.scripted_node import ScriptedNode

from casona.dialects.openai_chat import OpenAIChat
from casona.exchange.keys import Key
from casona.exchange.zones import Zone
from casona.nodes.openai import OpenAINode, connect
from casona.records.usage import UsageRow
from casona.routing.catalog import Catalog
from casona.serve import Answer, Desk
from casona.settings import Model, NodeKind, Timeouts
from casona.settings import Node as NodeSettings
from casona.tally import Call

KEY = Key(id="k1", name="ana", prefix="csn-", created=0.0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return async_tests.run(pyfuncitem)


class Translated(OpenAINode):
    """A node whose dialect is nobody's own: everything for it is translated."""

    relays = frozenset()
    relays_whole = frozenset()


@dataclass
class Bench:
    """Asks a desk and keeps what was recorded."""

    desk: Desk
    rows: list[UsageRow] = field(default_factory=list)

    async def ask(self, key: Key = KEY, **body: Any) -> Answer:
        hello = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        raw = msgspec.json.encode(hello | body)
        return await self.desk.chat(Call(f"req_{len(self.rows)}", key, "openai.chat", raw), OpenAIChat())

    async def stream(self, **body: Any) -> str:
        answer = await self.ask(stream=True, **body)
        assert not isinstance(answer.body, bytes)
        return b"".join([piece async for piece in answer.body]).decode()


@asynccontextmanager
async def desk_over(
    *nodes: ScriptedNode,
    names: dict[str, Model] | None = None,
    zones: tuple[Zone, ...] = (),
    max_zone: Zone = Zone.PRIVATE,
    translate: bool = False,
    models: tuple[str, ...] = ("m",),
) -> AsyncIterator[Bench]:
    """Nodes are called a, b, c ... and each has the model `m`."""
    made = []
    for at, node in enumerate(nodes):
        settings = NodeSettings(name="abcdef"[at], kind=NodeKind.VLLM, url=f"{node.url}/v1", models=models)
        made.append(connect(settings, zones[at] if zones else Zone.LOCAL, Timeouts()))
        if translate:
            made[-1].__class__ = Translated
    catalog = Catalog(made, names or {})
    await catalog.refresh()
    rows: list[UsageRow] = []
    try:
        yield Bench(Desk(catalog=catalog, record=rows.append, max_zone=max_zone), rows)
    finally:
        for node in made:
            await node.close()
