"""Print docs/settings.md and docs/cli.md from the code; with --check only say whether they are current."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from casona import settings
from casona.cli import main as casona

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH = 100

CLI_HEAD = """\
# Command line

Every command takes `--help`; exit code 0 means that all went well, and errors are one line that says what
to do. Printed from `src/casona/cli`; `make docs` renews it.
"""


def pages() -> dict[Path, str]:
    """The text of every page that is printed from code."""
    commands = CLI_HEAD + "".join(_sections(casona, "casona", None))
    return {DOCS / "settings.md": settings.as_markdown(), DOCS / "cli.md": commands}


def stale() -> list[Path]:
    """The pages whose files don't say what the code says."""
    return [
        path
        for path, text in pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def _sections(command: click.Command, name: str, around: click.Context | None) -> Iterator[str]:
    context = click.Context(
        command, info_name=name, parent=around, terminal_width=WIDTH, **command.context_settings
    )
    yield f"\n## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            inner = command.get_command(context, verb)
            if inner and not inner.hidden:
                yield from _sections(inner, verb, context)


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        if old := stale():
            sys.exit(f"stale: {', '.join(path.name for path in old)}; run `make docs` and commit them")
        return
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
