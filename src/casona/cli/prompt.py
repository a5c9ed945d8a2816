"""Lines a person types, with the editing and the history of readline where Python has it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

PROMPT = ">>> "
KEPT_LINES = 1000


def lines(history: Path) -> Iterator[str]:
    """One line after the other until Ctrl-D; Ctrl-C throws away what was typed.

    `history` keeps them for next time and is readable by its owner alone.
    """
    readline = _readline()
    if readline is not None:
        _recall(readline, history)
    try:
        while True:
            try:
                yield input(PROMPT)
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo()
    finally:
        if readline is not None:
            _keep(readline, history)


def _readline() -> Any:
    try:
        import readline
    except ImportError:
        return None
    return readline


def _recall(readline: Any, history: Path) -> None:
    readline.clear_history()
    readline.set_history_length(KEPT_LINES)
    with suppress(OSError):  # none yet, or one that another kind of readline wrote
        readline.read_history_file(history)


def _keep(readline: Any, history: Path) -> None:
    """A history that cannot be kept is no reason to end with an error."""
    with suppress(OSError):
        history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(history, os.O_WRONLY | os.O_CREAT, 0o600))
        readline.write_history_file(history)
        history.chmod(0o600)  # some readlines write a new file and put it in place of the old
