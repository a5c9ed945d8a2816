"""The plan of the house: which room may import which, and what may not be imported at start."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "casona"

# Downhill: a room may import only rooms that stand above it in this table, and of those only the named ones.
ROOMS: dict[str, set[str]] = {
    "exchange": set(),
    "settings": {"exchange"},
    "logs": {"settings"},
    "home": {"exchange"},
    "dialects": {"exchange"},
    "policy": {"exchange", "settings"},
    "configuration": {"exchange", "settings", "policy"},
    "nodes": {"exchange", "settings"},
    "routing": {"exchange", "settings", "nodes"},
    "engine": {"exchange", "settings", "nodes"},
    "records": {"exchange", "settings", "home"},
    "library": {"exchange", "settings", "logs", "home", "records"},
    "tally": {"exchange", "policy", "routing", "records"},
    "lanes": {"exchange", "dialects", "nodes", "routing", "tally"},
    "serve": {"exchange", "dialects", "policy", "routing", "nodes", "tally", "lanes"},
    "reading": {"exchange", "settings", "policy", "library", "tally", "serve"},
    "embedding": {"exchange", "policy", "library", "nodes", "routing", "tally", "serve"},
    "web": {
        *("exchange", "settings", "home", "dialects", "policy", "nodes", "routing", "engine", "records"),
        *("library", "tally", "serve", "reading"),
    },
    "house": {
        *("exchange", "settings", "home", "policy", "nodes", "routing", "engine", "records", "library"),
        *("serve", "embedding", "web"),
    },
    "wiring": {
        *("exchange", "settings", "home", "dialects", "policy", "nodes", "routing", "engine", "records"),
        *("library", "serve", "reading", "embedding", "web", "house"),
    },
    "running": {"configuration", "home", "web", "house", "wiring"},
    "cli": {"exchange", "settings", "logs", "configuration", "home", "web", "wiring", "running"},
    "__main__": {"cli"},
}

NAMES_OF_NO_ROOM = {"utils", "util", "helpers", "helper", "common", "manager", "core", "misc", "lib"}

# A file may hand its environment on to a child; what the house is told by it, only these rooms read.
READERS_OF_THE_ENVIRONMENT = {"cli", "engine/child.py"}

# What costs the idle server memory, or a command its start, is imported on first need.
HEAVY = {
    *("alembic", "fastapi", "lancedb", "mako", "numpy", "pyarrow", "pypdfium2", "rich", "snowballstemmer"),
    *("starlette", "xllamacpp"),
}
HEAVY_FOR_A_COMMAND = HEAVY | {
    "asyncio",
    "msgspec",
    "pydantic",
    "sqlalchemy",
    "ssl",
    "uvicorn",
    "uvloop",
    "yaml",
}


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE), ast.parse(path.read_text(encoding="utf-8"))


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and room of every import of ours, wherever in the file it stands."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names)
            case ast.ImportFrom(module="casona", names=names, level=0):
                yield from ((node.lineno, f"casona.{name.name}") for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module
            case ast.ImportFrom(level=level) if level:
                yield node.lineno, "casona.<relative import>"


def _room(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def test_the_plan_itself_runs_downhill():
    above: set[str] = set()
    for room, may_import in ROOMS.items():
        assert may_import <= above, room
        above.add(room)


def test_every_room_is_on_the_plan():
    rooms = {_room(path) for path, _ in _modules()} - {"__init__"}
    assert rooms <= set(ROOMS), "give the new room its place in ROOMS"


def test_rooms_import_downhill_only():
    wrong = [
        f"{path}:{line}: {_room(path)} may not import {room}"
        for path, tree in _modules()
        for line, module in _imported(tree)
        if module.partition(".")[0] == "casona"
        and (room := module.split(".")[1] if "." in module else "casona") not in {_room(path), "__version__"}
        and room not in ROOMS.get(_room(path), set())
    ]
    assert wrong == []


def test_rooms_are_nouns_of_the_domain():
    parts = {part.removesuffix(".py") for path, _ in _modules() for part in path.parts}
    assert parts & NAMES_OF_NO_ROOM == set()


def test_the_environment_is_read_at_the_door_only():
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in _modules()
        if _room(path) not in READERS_OF_THE_ENVIRONMENT and path.as_posix() not in READERS_OF_THE_ENVIRONMENT
        for node in ast.walk(tree)
        if _reads_the_environment(node)
    ]
    assert wrong == []


def _reads_the_environment(node: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr=name):
            return name in names
        case ast.ImportFrom(module="os", names=imported):
            return any(name.name in names for name in imported)
        case _:
            return False


def test_nothing_is_changed_from_inside_a_function_by_global():
    wrong = [
        f"{path}:{n.lineno}" for path, tree in _modules() for n in ast.walk(tree) if isinstance(n, ast.Global)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import casona.running", HEAVY),
        ("import casona.web.app", HEAVY),
        ("from casona.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass", HEAVY_FOR_A_COMMAND),
        ("import casona.exchange.request, casona.exchange.events", HEAVY_FOR_A_COMMAND),
    ],
)
def test_heavy_modules_are_imported_on_first_need(code, unwanted):
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert {name.partition(".")[0] for name in run.stderr.splitlines()} & unwanted == set()
