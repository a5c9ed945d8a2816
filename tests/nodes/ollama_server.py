"""An Ollama server's answers, as Ollama 0.13 writes them."""

import json
from collections.abc import Iterable
from typing import Any

from tests.scripted_node import Script, as_json, streamed

AT = "2026-11-02T10:00:00.123456789Z"
DIGEST = "365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1"


def line(**fields: Any) -> bytes:
    return json.dumps({"model": "llama3:8b", "created_at": AT} | fields, ensure_ascii=False).encode() + b"\n"


def says(content: str = "", **message: Any) -> bytes:
    return line(message={"role": "assistant", "content": content} | message, done=False)


def calls(name: str, arguments: Any, **fields: Any) -> bytes:
    function = {"name": name, "arguments": arguments}
    return says(tool_calls=[{"function": function} | fields])


def done(reason: str = "stop", **fields: Any) -> bytes:
    counts = {"prompt_eval_count": 11, "eval_count": 3, "total_duration": 5_000_000_000, "eval_duration": 9}
    return line(
        message={"role": "assistant", "content": ""}, done=True, done_reason=reason, **(counts | fields)
    )


def chat(*lines: bytes) -> Script:
    return streamed([*lines, done()])


def tag(name: str, **fields: Any) -> dict[str, Any]:
    details = {"family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_0"}
    plain = {"name": name, "model": name, "modified_at": AT, "size": 4_661_224_676, "digest": DIGEST}
    return plain | {"details": details} | fields


def show(*capabilities: str, context: int = 8192, parameters: str = "", **fields: Any) -> dict[str, Any]:
    info = {"general.architecture": "llama", "llama.context_length": context}
    return {"parameters": parameters, "capabilities": list(capabilities), "model_info": info} | fields


def server(
    tags: Iterable[dict[str, Any]],
    shown: dict[str, Any] | None = None,
    loaded: Iterable[dict[str, Any]] = (),
    **paths: Script,
) -> dict[str, Script]:
    """Scripts by path: `chat=` and `embed=` are those of /api/chat and /api/embed."""
    scripts = {
        "/api/tags": as_json({"models": list(tags)}),
        "/api/show": as_json(shown if shown is not None else show("completion", "tools")),
        "/api/ps": as_json({"models": list(loaded)}),
        "/api/version": as_json({"version": "0.13.1"}),
    }
    return scripts | {f"/api/{name}": script for name, script in paths.items()}
