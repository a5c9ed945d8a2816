"""What commands print: tables for people, JSON for programs."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from casona.exchange.errors import CasonaError


class CliError(CasonaError):
    """What went wrong and what to do, in one line."""


def print_json(value: Any) -> None:
    """One value on one line, so that several can follow each other."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under column names; numbers stand right, None is an empty cell.

    On a terminal it fits the width; elsewhere nothing is cut.
    """
    if sys.stdout.isatty():
        _print_fitting(columns, rows)
        return
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    right = [_is_number(rows, place) for place in range(len(columns))]
    for line in cells:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def printable(text: str, *, also: str = "") -> str:
    """A text from elsewhere, with nothing in it that steers a terminal; what is in `also` passes."""
    return "".join(character if character.isprintable() or character in also else "�" for character in text)


def moment(unix_s: float | None) -> str | None:
    """A time as people here read it."""
    return None if unix_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_s))


def _print_fitting(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if _is_number(rows, place) else "left")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console().print(table)


def _is_number(rows: Sequence[Sequence[object]], place: int) -> bool:
    values = [row[place] for row in rows if row[place] is not None]
    return bool(values) and all(type(value) in (int, float) for value in values)  # yes and no are no numbers


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else ""
        case float():
            return f"{value:,.0f}"
        case int():
            return f"{value:,}"
    return printable(str(value))
