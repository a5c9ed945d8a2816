"""LiteLLM's proxy with the production settings of its documentation, less what needs a database.

Source: https://docs.litellm.ai/docs/proxy/prod: LITELLM_MODE, LITELLM_LOG=ERROR, one worker, a master key.
Prices come from the package rather than the network, and telemetry is off.
"""

import json
import subprocess
from pathlib import Path

from bench.calls import MODEL, NODE_KEY, STREAMED_MODEL, Call
from bench.peers.base import Peer, install_python

MASTER_KEY = "sk-bench"


class LiteLLM(Peer):
    name = "LiteLLM"
    health = "/health/liveliness"

    @classmethod
    def install(cls) -> str:
        python = install_python("litellm") / "python"
        asked: list[str | Path] = [
            python,
            "-c",
            "from importlib.metadata import version; print(version('litellm'))",
        ]
        said = subprocess.run(asked, capture_output=True, text=True).stdout
        return said.strip()

    def prepare(self) -> None:
        """Its configuration is YAML, which JSON is."""
        config = {
            "model_list": [
                _model(MODEL, self.nodes.instant),
                _model(STREAMED_MODEL, self.nodes.streams),
            ],
            "litellm_settings": {"set_verbose": False, "telemetry": False, "request_timeout": 600},
            "general_settings": {"master_key": MASTER_KEY, "disable_spend_logs": True},
        }
        (self.folder / "config.yaml").write_text(json.dumps(config, indent=2))

    def command(self) -> list[str | Path]:
        program = install_python("litellm") / "litellm"
        listening = ["--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1"]
        return [program, "--config", self.folder / "config.yaml", *listening]

    def environment(self) -> dict[str, str]:
        return {
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_DOCS": "True",
        }

    def call(self, *, streamed: bool) -> Call:
        model = STREAMED_MODEL if streamed else MODEL
        return Call(port=self.port, model=model, headers={"authorization": f"Bearer {MASTER_KEY}"})


def _model(name: str, port: int) -> dict[str, object]:
    reached = {"model": f"openai/{name}", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": NODE_KEY}
    return {"model_name": name, "litellm_params": reached}
