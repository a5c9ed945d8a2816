"""Finding an Ollama server on this machine, and not taking anything else for one."""

import asyncio

import pytest
from tests.nodes.ollama_server import server, tag
from tests.scripted_node import Script, ScriptedNode, as_json, whole

from casona.exchange.zones import Zone
from casona.nodes.discovery import URL, discover
from casona.nodes.ollama import OllamaNode
from casona.settings import Timeouts

OLLAMA = server([tag("llama3:8b")])
HEALTHY = as_json({"status": "healthy", "instance": "0" * 32})


async def found_at(scripted: ScriptedNode, **taken: list[str]) -> OllamaNode | None:
    known: dict[str, list[str]] = {"names": [], "urls": []}
    return await discover(Timeouts(), **(known | taken), url=scripted.url)


async def test_an_ollama_server_becomes_a_local_node() -> None:
    async with ScriptedNode(paths=OLLAMA) as scripted:
        node = await found_at(scripted)
        assert node is not None
        assert (node.name, node.zone) == ("ollama", Zone.LOCAL)
        assert [model.name for model in await node.models()] == ["llama3:8b"]
        await node.close()


@pytest.mark.parametrize(
    ("names", "name"), [(["box"], "ollama"), (["ollama"], "ollama-2"), (["ollama", "ollama-2"], "ollama-3")]
)
async def test_a_name_that_is_taken_gets_a_number(names: list[str], name: str) -> None:
    async with ScriptedNode(paths=OLLAMA) as scripted:
        node = await found_at(scripted, names=names)
        assert node is not None
        assert node.name == name
        await node.close()


NOT_OLLAMA: dict[str, dict[str, Script]] = {
    "Casona": {**OLLAMA, "/health": HEALTHY},
    "Casona that tells strangers little": {**OLLAMA, "/health": as_json({"status": "healthy"})},
    "Casona that is starting": {**OLLAMA, "/health": as_json({"status": "starting"}, status=b"503 Wait")},
    "something that wants a key": {"/api/version": as_json({}, status=b"401 Unauthorized")},
    "something without a version": {"/api/version": as_json({"name": "x"})},
    "something that speaks no JSON": {"/api/version": [whole(b"<html>")]},
    "something that answers a list": {"/api/version": as_json([])},
    "something that speaks no HTTP": {"/api/version": [b"220 mail.example ESMTP\r\n"]},
}


@pytest.mark.parametrize("paths", NOT_OLLAMA.values(), ids=NOT_OLLAMA.keys())
async def test_what_is_not_ollama_is_left_alone(paths: dict[str, Script]) -> None:
    async with ScriptedNode(paths=paths) as scripted:
        assert await found_at(scripted) is None


async def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casona.nodes.discovery.WAIT_S", 0.05)
    async with ScriptedNode([asyncio.Event()]) as scripted:
        async with asyncio.timeout(5):
            assert await found_at(scripted) is None
            await scripted.received[0].left.wait()


async def test_nobody_there_is_no_node() -> None:
    async with ScriptedNode([]) as scripted:
        pass
    assert await found_at(scripted) is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}", "http://localhost:{port}/", "http://[::1]:{port}/v1"]
)
async def test_a_server_that_is_configured_is_not_found_again(url: str) -> None:
    async with ScriptedNode(paths=OLLAMA) as scripted:
        assert await found_at(scripted, urls=[url.format(port=scripted.port)]) is None
        assert scripted.received == []


async def test_a_node_elsewhere_with_the_same_port_is_another() -> None:
    async with ScriptedNode(paths=OLLAMA) as scripted:
        node = await found_at(scripted, urls=[f"http://10.0.0.5:{scripted.port}", "http://localhost"])
        assert node is not None
        await node.close()


def test_it_looks_where_ollama_listens() -> None:
    assert URL == "http://127.0.0.1:11434"
