"""`casona ingest`: put documents into the library."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from casona.cli import uploads, walk
from casona.cli.door import Door, open_door
from casona.cli.listing import documents
from casona.cli.output import print_json, printable
from casona.home import Home

ORDER = ("stored", "updated", "unchanged", "removed", "refused")


@click.command()
@click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option("--collection", metavar="NAME", help="The collection they go into; `default` unless told.")
@click.option("--prune", is_flag=True, help="Remove documents below PATH... whose files are gone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, for programs.")
@click.pass_obj
def ingest(home: Home, paths: Sequence[Path], collection: str | None, prune: bool, as_json: bool) -> int:
    """Put the files PATH..., and those in directories, into the library.

    What is there already and has not changed stays as it is. Hidden files are passed over. Exit code 1 if
    a file was refused; the others are in.
    """
    counts: Counter[str] = Counter()
    files = list(walk.files(paths))
    with open_door(home) as door, _shown(files, as_json) as shown:
        for outcome in uploads.sent(door, files, collection, shown.bytes_gone):
            counts[outcome["outcome"]] += 1
            shown.tell(outcome)
        for outcome in _pruned(door, paths, collection) if prune else ():
            counts["removed"] += 1
            shown.tell(outcome)
    if not as_json:
        click.echo(_summary(counts), err=True)
    return 1 if counts["refused"] else 0


def _pruned(door: Door, roots: Sequence[Path], collection: str | None) -> Iterator[uploads.Outcome]:
    """Remove what lay below the roots and is gone."""
    from casona.web.incoming import DEFAULT_COLLECTION

    named = [walk.absolute(root) for root in roots]
    for document in documents(door, collection=collection or DEFAULT_COLLECTION):
        source = document["source"]
        if walk.is_below(source, named) and walk.is_gone(source):
            door.delete(f"/library/documents/{document['id']}")
            yield {
                "path": source,
                "outcome": "removed",
                "document": document["id"],
                "reason": "its file is gone",
            }


def _summary(counts: Counter[str]) -> str:
    total = sum(counts.values())
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ORDER if counts[outcome])
    return f"{total} {'document' if total == 1 else 'documents'}: {told}" if total else "no files there"


@dataclass(slots=True)
class _Shown:
    """Each outcome as a line; the bar, where there is one, below them."""

    as_json: bool
    bar: Any = None
    task: Any = None
    told: int = 0

    def bytes_gone(self, count: int) -> None:
        if self.bar is not None:
            self.bar.advance(self.task, count)

    def tell(self, outcome: uploads.Outcome) -> None:
        if self.as_json:
            print_json(outcome)
            return
        self.told += 1
        reason = f": {outcome['reason']}" if outcome["reason"] else ""
        line = printable(f"{outcome['outcome']:<9}  {outcome['path']}{reason}")
        if self.bar is not None and sys.stdout.isatty():
            self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            self.bar.update(self.task, description=f"{self.told} done,")
        else:
            click.echo(line)


@contextmanager
def _shown(files: Sequence[Path], as_json: bool) -> Iterator[_Shown]:
    """On a terminal with a bar of the bytes that have gone; not among JSON lines on it."""
    if not sys.stderr.isatty() or (as_json and sys.stdout.isatty()):
        yield _Shown(as_json)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("0 done,", total=sum(map(_size_bytes, files)))
        yield _Shown(as_json, bar, task)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
