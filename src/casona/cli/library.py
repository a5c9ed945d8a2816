"""`casona library`: which documents there are."""

import sys
from typing import Any

import click

from casona.cli.door import open_door
from casona.cli.listing import Document, documents, named
from casona.cli.output import CliError, moment, print_json, print_table, printable
from casona.home import Home

_COLLECTION = click.option("--collection", metavar="NAME", help="Only in this collection.")


@click.group()
def library() -> None:
    """List, show and remove documents."""


@library.command("list")
@_COLLECTION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
@click.pass_obj
def list_documents(home: Home, collection: str | None, as_json: bool) -> None:
    """List the documents of the library."""
    with open_door(home) as door:
        found = list(documents(door, collection=collection))
    if as_json:
        print_json(found)
    elif found:
        columns = ["document", "collection", "pages", "passages", "language", "size", "updated"]
        print_table(columns, [_row(one) for one in found])
    else:
        click.echo("no documents yet; `casona ingest PATH` puts some in", err=True)


@library.command()
@click.argument("path_or_id", metavar="PATH|ID")
@_COLLECTION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_obj
def show(home: Home, path_or_id: str, collection: str | None, as_json: bool) -> None:
    """Show what is known of one document."""
    with open_door(home) as door:
        document = named(door, path_or_id, collection=collection)
    if as_json:
        print_json(document)
        return
    for label, value in _facts(document):
        click.echo(f"{label:<11} {printable(str(value))}")


@library.command()
@click.argument("path_or_id", metavar="PATH|ID")
@_COLLECTION
@click.option("--yes", is_flag=True, help="Without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_obj
def remove(home: Home, path_or_id: str, collection: str | None, yes: bool, as_json: bool) -> None:
    """Remove a document from the library, with all that was made of it. The file it came from stays."""
    if not yes and not sys.stdin.isatty():
        raise CliError("nobody is here to confirm it; say --yes")
    with open_door(home) as door:
        document = named(door, path_or_id, collection=collection)
        if not yes:
            click.confirm(f"Remove {printable(document['source'])}?", abort=True, err=True)
        removed = door.delete(f"/library/documents/{document['id']}")
    if as_json:
        print_json(removed)
    else:
        click.echo(f"removed {printable(removed['source'])} from {removed['collection']}")


def _row(document: Document) -> list[object]:
    return [
        document["source"],
        document["collection"],
        document["pages"],
        document["passages"],
        document["language"],
        _size(document["size_bytes"]),
        moment(document["updated"]),
    ]


def _facts(document: Document) -> list[tuple[str, Any]]:
    facts = [
        ("document", document["source"]),
        ("title", document["title"]),
        ("collection", document["collection"]),
        ("id", document["id"]),
        ("kind", document["media_type"]),
        ("language", document["language"]),
        ("size", _size(document["size_bytes"])),
        ("pages", f"{document['pages']:,}"),
        ("passages", f"{document['passages']:,}"),
        ("sha-256", document["hash"]),
        ("added", moment(document["added"])),
        ("updated", moment(document["updated"])),
        *(("note", note) for note in document["notes"]),
    ]
    return [(label, value) for label, value in facts if value]


def _size(size_bytes: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes} bytes"
