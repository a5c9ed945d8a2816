"""A tool call wrung from a model by a JSON schema, for nodes that ignore `tool_choice`.

The model is held to `{"name": ..., "arguments": ...}`, the form that most models were taught.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from casona.exchange.errors import BadRequest
from casona.exchange.request import Tool, ToolChoice

Json = dict[str, Any]
DEFINITIONS = ("$defs", "definitions")


class Call(Struct, frozen=True):
    """`arguments` is the JSON text as the model wrote it."""

    name: str
    arguments: msgspec.Raw


_call = msgspec.json.Decoder(Call)


def is_forced(choice: ToolChoice | None) -> bool:
    return choice is not None and choice.mode in {"required", "one"}


def schema(tools: Sequence[Tool], choice: ToolChoice) -> Json:
    """What an answer must look like. Raises BadRequest when the choice names no tool that is there."""
    wanted = [tool for tool in tools if choice.mode != "one" or tool.name == choice.name]
    if not wanted:
        named = f"there is no tool called {choice.name!r}" if choice.mode == "one" else "there are no tools"
        raise BadRequest(f"tool_choice: {named}", param="tool_choice")
    calls = [_envelope(tool) for tool in wanted]
    return (calls[0] if len(calls) == 1 else {"anyOf": calls}) | _definitions(wanted)


def read(answer: str) -> Call | None:
    """The call that an answer under the schema makes; None when it makes none."""
    try:
        found = _call.decode(answer.strip())
    except msgspec.MsgspecError:
        return None
    return found if bytes(found.arguments).startswith(b"{") else None


def _envelope(tool: Tool) -> Json:
    arguments = {key: value for key, value in tool.schema.items() if key not in DEFINITIONS}
    properties = {
        "name": {"type": "string", "enum": [tool.name]},
        "arguments": {"type": "object"} | arguments,
    }
    return {"type": "object", "properties": properties, "required": ["name", "arguments"]}


def _definitions(tools: Sequence[Tool]) -> Json:
    """`#/$defs/X` counts from the root, so definitions move there; two of one name must agree."""
    found: Json = {}
    for tool in tools:
        for key in DEFINITIONS:
            for name, definition in (tool.schema.get(key) or {}).items():
                if found.setdefault(key, {}).setdefault(name, definition) != definition:
                    raise BadRequest(
                        f"tools: {key}.{name} means different things in two tools, so a call can't be "
                        "enforced on this node; name one tool in tool_choice",
                        param="tool_choice",
                    )
    return found
