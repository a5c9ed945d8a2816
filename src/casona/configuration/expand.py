"""Secrets kept out of the file: `${VARIABLE}` inside a text, and `file:PATH` as the whole of one."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any

from casona.configuration.places import Draft, Path, Problem

MAX_SECRET_BYTES = 64 * 1024
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unset(ValueError):
    """A text leads to a variable or file that gives nothing. `str(error)` says what to do."""


def expand(draft: Draft, environ: Mapping[str, str], home: FilePath) -> tuple[dict[str, Any], list[Problem]]:
    """The values with every secret in its place. `$${` stands for the two characters `${`."""
    problems: list[Problem] = []

    def text(value: str, path: Path) -> str:
        try:
            return _from_file(value, home) if value.startswith("file:") else _from_variables(value, environ)
        except Unset as fault:
            problems.append(draft.problem(path, str(fault)))
            return value

    return _mapped(draft.values, (), text), problems


def _mapped(value: Any, path: Path, text: Callable[[str, Path], str]) -> Any:
    match value:
        case dict():
            return {key: _mapped(inner, (*path, key), text) for key, inner in value.items()}
        case list():
            return [_mapped(inner, (*path, index), text) for index, inner in enumerate(value)]
        case str():
            return text(value, path)
        case _:
            return value


def _from_variables(value: str, environ: Mapping[str, str]) -> str:
    def found(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if not match[0].endswith("}") or not _NAME.fullmatch(match[1]):
            raise Unset(f"{match[0]} names no variable; write ${{NAME}}, or $${{ for the characters ${{")
        if not environ.get(match[1]):
            raise Unset(f"the variable {match[1]} is not set; export it or write it into .env")
        return environ[match[1]]

    return _VARIABLE.sub(found, value)


def _from_file(value: str, home: FilePath) -> str:
    path = home / FilePath(value.removeprefix("file:").strip()).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        secret = content.decode().strip()
    except (OSError, ValueError, RuntimeError) as fault:  # RuntimeError: `~user` of nobody
        reason = fault.strerror if isinstance(fault, OSError) else "is not a text file"
        raise Unset(f"the file {path} cannot be read: {reason}") from fault
    if not secret or len(content) > MAX_SECRET_BYTES:
        raise Unset(f"the file {path} {'is empty' if not secret else 'is too large for a secret'}")
    return secret
