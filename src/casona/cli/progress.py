"""What a pull or a load tells, shown as it comes: bars on a terminal, a line for each step elsewhere."""

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Event = dict[str, Any]


def show(events: Iterable[Event]) -> None:
    """Follow to the end. Ends with an error where the events do."""
    with _Bars() if sys.stderr.isatty() else _Lines() as shown:
        for event in events:
            shown.tell(event)


class _Lines:
    """One line for each new step, on standard error: standard output is for results."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def tell(self, event: Event) -> None:
        status = _printable(event.get("status", ""))
        if status != self._last:
            click.echo(status, err=True)
        self._last = status


class _Bars:
    """A bar for each file, with what is there, the speed and the time left; other steps as lines."""

    def __init__(self) -> None:
        self._progress = _progress()
        self._bars: dict[str, TaskID] = {}
        self._last = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, event: Event) -> None:
        status, digest = _printable(event.get("status", "")), event.get("digest")
        if digest:
            if digest not in self._bars:
                self._bars[digest] = self._progress.add_task(status, total=event["total"])
            self._progress.update(self._bars[digest], completed=event.get("completed", 0))
        elif status != self._last:
            self._progress.console.print(status, markup=False, highlight=False)
        self._last = status


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _printable(text: object) -> str:
    return "".join(character for character in str(text) if character.isprintable())
