"""TLS to a node: verified, unless its owner says otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.nodes.pools import Certificate
from tests.scripted_node import ScriptedNode, as_json

from casona.exchange.errors import NodeFailed
from casona.exchange.zones import Zone
from casona.nodes import openai
from casona.settings import Node, Timeouts

MODELS = as_json({"data": [{"id": "m"}]})
Make = Callable[[str], Certificate]


async def names_of(node: ScriptedNode, **settings: Any) -> list[str]:
    """The models that a node with these settings lists."""
    described = Node(name="box", kind="openai", url=node.url, **settings)
    connected = openai.connect(described, Zone.PRIVATE, Timeouts())
    try:
        return [model.name for model in await connected.models()]
    finally:
        await connected.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate_for: Make) -> None:
    async with ScriptedNode(MODELS, tls=certificate_for("IP:127.0.0.1").server) as node:
        with pytest.raises(
            NodeFailed,
            match=r"^node 'box' showed a certificate that can't be trusted: self-signed certificate; "
            "its `ca_file` setting may name the authority that signed it$",
        ):
            await names_of(node)
        assert node.received == []


async def test_a_certificate_of_the_settings_authority_is_trusted(certificate_for: Make) -> None:
    certificate = certificate_for("IP:127.0.0.1")
    async with ScriptedNode(MODELS, tls=certificate.server) as node:
        assert await names_of(node, ca_file=str(certificate.ca_file)) == ["m"]


async def test_a_certificate_for_another_host_is_refused(certificate_for: Make) -> None:
    certificate = certificate_for("DNS:elsewhere.example")
    async with ScriptedNode(MODELS, tls=certificate.server) as node:
        with pytest.raises(NodeFailed, match="can't be trusted: IP address mismatch"):
            await names_of(node, ca_file=str(certificate.ca_file))
        assert node.received == []


async def test_verification_can_be_switched_off(certificate_for: Make) -> None:
    async with ScriptedNode(MODELS, tls=certificate_for("DNS:elsewhere.example").server) as node:
        assert await names_of(node, verify_tls=False) == ["m"]


async def test_a_node_without_tls_where_tls_was_expected_is_a_failure() -> None:
    async with ScriptedNode([b"HTTP/1.1 400 Bad Request\r\n\r\n"]) as node:
        described = Node(name="box", kind="openai", url=f"https://127.0.0.1:{node.port}")
        connected = openai.connect(described, Zone.PRIVATE, Timeouts(connect_s=0.2))
        with pytest.raises(NodeFailed, match=r"^node 'box' "):
            await connected.models()


async def test_a_connection_over_tls_is_used_again(certificate_for: Make, tmp_path: Path) -> None:
    certificate = certificate_for("IP:127.0.0.1")
    async with ScriptedNode(MODELS, tls=certificate.server) as node:
        described = Node(name="box", kind="openai", url=node.url, ca_file=str(certificate.ca_file))
        connected = openai.connect(described, Zone.PRIVATE, Timeouts())
        for _ in range(3):
            await connected.models()
        assert node.connections == 1
        await connected.close()
