"""`casona ask`: a question about the documents, answered with citations."""

import sys
from collections.abc import Iterable
from typing import Any

import click

from casona.cli.door import open_door
from casona.cli.output import print_json, printable
from casona.cli.passages import place
from casona.home import Home


@click.command()
@click.argument("question")
@click.option("--collection", metavar="NAME", help="Ask only the documents of this collection.")
@click.option("--model", metavar="NAME", help="The model that answers; the house's choice unless told.")
@click.option("--extracts", is_flag=True, help="Quote the best sentences; no model is asked.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_obj
def ask(
    home: Home, question: str, collection: str | None, model: str | None, extracts: bool, as_json: bool
) -> None:
    """Answer QUESTION from the documents, and say where it stands."""
    asked = {
        "question": question,
        "collection": collection,
        "model": model,
        "mode": "extracts" if extracts else "auto",
    }
    with open_door(home) as door:
        if as_json:
            print_json(door.post_json("/rag/query", asked))
        else:
            _show(door.stream_lines("/rag/query", asked | {"stream": True}))


def _show(events: Iterable[dict[str, Any]]) -> None:
    sources: list[dict[str, Any]] = []
    for event in events:
        if "sources" in event:
            sources = event["sources"]
        elif "delta" in event:
            click.echo(_fit(event["delta"]), nl=False)
            sys.stdout.flush()
        elif event.get("done"):
            _show_sources(sources, event["cited"])


def _show_sources(sources: list[dict[str, Any]], cited: list[int]) -> None:
    """Those that the answer cites; where it cites none, those that it was to rest on."""
    click.echo()
    numbers = sorted(cited) or range(1, len(sources) + 1)
    if numbers:
        click.echo()
    for number in numbers:
        click.echo(f"[{number}] {place(sources[number - 1])}")


def _fit(text: str) -> str:
    return printable(text, also="\n\t") if sys.stdout.isatty() else text
