"""The edge of the command line: what is listed, what goes wrong, and with which exit code."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from casona import __version__
from casona.cli import VERBS, main
from casona.cli.verbs import Verbs
from casona.exchange.errors import CasonaError
from casona.home import Home


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def raising(fault: Callable[[], BaseException]) -> Result:
    """A command that ends with a fault, inside the group that all commands are in."""

    class One(Verbs):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return ["fail"]

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            @click.command()
            def fail() -> None:
                raise fault()

            return fail

    return CliRunner().invoke(One(name="casona", verbs={"fail": ""}), ["fail"])


def test_help_names_every_verb_that_is_there() -> None:
    shown = ran("--help").output
    assert [verb for verb in VERBS if f"  {verb} " in shown] == main.list_commands(click.Context(main))


def test_every_verb_says_the_same_of_itself() -> None:
    context = click.Context(main)
    for verb in main.list_commands(context):
        command = main.get_command(context, verb)
        assert command
        assert command.name == verb
        assert command.get_short_help_str(200), verb


def test_the_version_is_told() -> None:
    assert ran("--version").output == f"casona {__version__}\n"


def test_a_verb_without_a_file_is_not_there() -> None:
    group = Verbs(name="casona", verbs={"keys": "Keys.", "fly": "Fly."})
    assert group.list_commands(click.Context(group)) == ["keys"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kys"], "casona: there is no 'kys'; did you mean keys? (see `casona --help`)\n"),
        (["fly"], "casona: there is no 'fly' (see `casona --help`)\n"),
        (["keys", "create"], "casona: missing argument 'NAME' (see `casona keys create --help`)\n"),
        (
            ["usage", "--since", "soon"],
            "casona: invalid value for '--since': 'soon' is no time; write 24h, 7d or 2026-11-01 "
            "(see `casona usage --help`)\n",
        ),
    ],
)
def test_what_is_not_understood_is_told_in_one_line(arguments: list[str], message: str) -> None:
    result = ran(*arguments)
    assert (result.exit_code, result.stderr, result.stdout) == (2, message, "")


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (lambda: CasonaError("the house is closed; open it"), 1, "casona: the house is closed; open it\n"),
        (lambda: CasonaError("a: one\nb: two"), 1, "casona: a: one\ncasona: b: two\n"),
        (
            lambda: PermissionError(13, "Permission denied", "/x"),
            1,
            "casona: /x: Permission denied\n",
        ),
        (lambda: click.ClickException("no"), 1, "casona: no\n"),
        (lambda: click.Abort(), 130, ""),
        (lambda: KeyboardInterrupt(), 130, "\n"),
        (lambda: click.exceptions.Exit(3), 3, ""),
        (lambda: SystemExit(4), 4, ""),
    ],
)
def test_a_fault_is_one_line_and_a_code(fault: Callable[[], BaseException], code: int, message: str) -> None:
    result = raising(fault)
    assert (result.exit_code, result.stderr) == (code, message)


def test_a_bug_is_not_hidden() -> None:
    assert isinstance(raising(lambda: ZeroDivisionError()).exception, ZeroDivisionError)


def home_of(*arguments: str) -> Path:
    seen: list[Home] = []

    class One(Verbs):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return ["keys"]

    @click.command()
    @click.pass_obj
    def show(home: Home) -> None:
        seen.append(home)

    group = main.get_command(click.Context(main), "keys")
    assert isinstance(group, click.Group)
    group.add_command(show, "show")
    try:
        assert ran(*arguments).exit_code == 0
    finally:
        del group.commands["show"]
    return seen[0].path


def test_the_house_is_named_before_or_after_the_verb(tmp_path: Path) -> None:
    assert home_of("--home", str(tmp_path), "keys", "show") == tmp_path
    assert home_of("keys", "show", "--home", str(tmp_path)) == tmp_path
    assert home_of("--home", "/elsewhere", "keys", "show", "--home", str(tmp_path)) == tmp_path


def test_the_environment_names_the_house() -> None:
    assert home_of("keys", "show") == Path(os.environ["CASONA_HOME"])


PRINTING = """
import click
from casona.cli import main
main.get_command = lambda context, name: click.Command("keys", callback=lambda: print("a key"))
main(["keys"])
"""


@pytest.mark.parametrize("arguments", [["-m", "casona", "--help"], ["-c", PRINTING]])
def test_a_reader_that_leaves_is_no_error_worth_a_word(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    run = subprocess.run([sys.executable, *arguments], stdout=writer, stderr=subprocess.PIPE, env=buffered)
    os.close(writer)
    assert (run.returncode, run.stderr) == (1, b"")


def test_ctrl_c_ends_with_130() -> None:
    code = (
        "import click, os, signal, sys\nfrom casona.cli import main\n"
        "@click.command()\ndef wait():\n    print('waiting', flush=True)\n    signal.pause()\n"
        "main.get_command = lambda context, name: wait\nmain(['keys'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == "waiting\n"
        program.send_signal(signal.SIGINT)
        _, told = program.communicate()
    assert (program.returncode, told.strip()) == (130, "")
