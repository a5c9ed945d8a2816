import json

import pytest

from casona.cli.output import moment, print_json, print_table

ROWS = [["llama3:8b", 1200, 12.4, True], ["año\x1b[31m", 3, None, False]]
COLUMNS = ["model", "requests", "first token ms", "admin"]


def test_a_table_in_a_pipe_is_plain_and_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS)
    assert capsys.readouterr().out == (
        "model      requests  first token ms  admin\n"
        "llama3:8b     1,200              12  yes\n"
        "año�[31m          3\n"
    )


def test_a_table_without_rows_is_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [])
    assert capsys.readouterr().out == "a  b\n"


def test_a_table_on_a_terminal_cannot_be_steered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(["name"], [["[bold]x[/bold]\x1b[31m"]])
    shown = capsys.readouterr().out
    assert "[bold]x[/bold]�[31m" in shown
    assert "\x1b[31m" not in shown


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "año\nnuevo"})
    shown = capsys.readouterr().out
    assert (shown.count("\n"), json.loads(shown)) == (1, {"name": "año\nnuevo"})


def test_a_moment_that_never_was_is_none() -> None:
    assert moment(None) is None
