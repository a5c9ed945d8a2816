"""Casona as its user starts it: keys and ledger on, as they always are."""

import subprocess
import sys
from pathlib import Path

from bench.calls import MODEL, STREAMED_MODEL, Call
from bench.peers.base import Peer, Unavailable

PROGRAM = Path(sys.executable).parent / "casona"

# The engine and the look for Ollama are off, so that nothing but the gateway is weighed.
CONFIG = """\
nodes:
  - {{name: instant, kind: openai, url: "http://127.0.0.1:{instant}/v1", zone: local, models: [{model}]}}
  - {{name: streams, kind: openai, url: "http://127.0.0.1:{streams}/v1", zone: local, models: [{streamed}]}}
engine: {{enabled: false}}
discovery: {{ollama: false}}
"""


class Casona(Peer):
    name = "Casona"
    health = "/health"
    keeps_state = True

    @classmethod
    def install(cls) -> str:
        from casona import __version__

        helped = subprocess.run([PROGRAM, "serve", "--help"], capture_output=True, text=True)
        if helped.returncode:
            said = helped.stderr.strip().splitlines()
            raise Unavailable(f"`casona serve` does not start: {said[-1] if said else 'it said nothing'}")
        return __version__

    @property
    def house(self) -> Path:
        return self.folder / "house"

    def prepare(self) -> None:
        self.house.mkdir(mode=0o700, exist_ok=True)
        config = CONFIG.format(
            instant=self.nodes.instant, streams=self.nodes.streams, model=MODEL, streamed=STREAMED_MODEL
        )
        (self.house / "casona.yaml").write_text(config)

    def command(self) -> list[str | Path]:
        return [PROGRAM, "serve", "--home", self.house, "--port", str(self.port)]

    def call(self, *, streamed: bool) -> Call:
        key = (self.house / "admin.key").read_text().strip()
        model = STREAMED_MODEL if streamed else MODEL
        return Call(port=self.port, model=model, headers={"authorization": f"Bearer {key}"})
