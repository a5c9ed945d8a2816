import io
import sys

import pytest

from casona.cli import progress

DIGEST = "sha256:" + "ab" * 32
EVENTS = [
    {"status": "pulling manifest"},
    {"status": "pulling abababababab", "digest": DIGEST, "total": 4_000_000, "completed": 0},
    {"status": "pulling abababababab", "digest": DIGEST, "total": 4_000_000, "completed": 4_000_000},
    {"status": "trying\x1b[2J the [red]model"},
    {"status": "success"},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_shows_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    progress.show(EVENTS)
    shown = terminal.getvalue()
    for part in (
        "pulling manifest",
        "pulling abababababab",
        "4.0/4.0 MB",
        "trying[2J the [red]model",
        "success",
    ):
        assert part in shown


def test_elsewhere_each_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress.show(EVENTS)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "pulling manifest",
        "pulling abababababab",
        "trying[2J the [red]model",
        "success",
    ]
