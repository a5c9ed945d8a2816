"""Passages as people are shown them."""

from typing import Any

from casona.cli.output import printable


def place(passage: dict[str, Any]) -> str:
    """/home/ada/lease.pdf p. 3 (120-840): the page counts from 1, the characters from 0."""
    span = f"{passage['start']}-{passage['end']}"
    return f"{printable(passage['source'])} p. {passage['page']} ({span})"
