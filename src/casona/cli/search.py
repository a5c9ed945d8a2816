"""`casona search`: find passages in the documents."""

import click

from casona.cli.door import open_door
from casona.cli.output import print_json, printable
from casona.cli.passages import place
from casona.home import Home

SHOWN_CHARS = 400


@click.command()
@click.argument("words")
@click.option("--collection", metavar="NAME", help="Search only this collection.")
@click.option(
    "--limit", type=click.IntRange(1, 50), default=10, show_default=True, help="Most passages to show."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
@click.pass_obj
def search(home: Home, words: str, collection: str | None, limit: int, as_json: bool) -> None:
    """Find the passages that fit WORDS, or a question, best."""
    with open_door(home) as door:
        hits = door.get_json("/library/search", q=words, collection=collection, limit=limit)["hits"]
    if as_json:
        print_json(hits)
        return
    if not hits:
        click.echo("nothing found; `casona library list` shows which documents are there", err=True)
    for number, hit in enumerate(hits, 1):
        heading = printable(" > ".join(hit["heading"]))
        click.echo(click.style(f"[{number}] {place(hit)}", bold=True) + (f"  {heading}" if heading else ""))
        click.echo(f"    {_shortened(hit['content'])}\n")


def _shortened(content: str) -> str:
    text = printable(" ".join(content.split()))
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS].rsplit(" ", 1)[0] + " …"
