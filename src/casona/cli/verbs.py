"""The outermost edge of the command line: verbs that load late, errors of one line, exit codes.

Exit codes: 0 all went well, 1 it did not, 2 the command was not understood, 130 Ctrl-C.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import click

from casona.exchange.errors import CasonaError
from casona.home import Home

FAILED, MISUSED, INTERRUPTED = 1, 2, 130


class Verbs(click.Group):
    """A group whose commands are `casona.cli.VERB:VERB`; `verbs` says in a line what each does."""

    def __init__(self, *args: Any, verbs: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb in self.verbs if find_spec(f"casona.cli.{verb}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(import_module(f"casona.cli.{cmd_name}"), cmd_name)
        return _with_home(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verbs = self.list_commands(ctx)
        if args[0] not in verbs and not args[0].startswith("-"):
            near = get_close_matches(args[0], verbs, n=1)
            ctx.fail(f"there is no {args[0]!r}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if rows := [(verb, self.verbs[verb]) for verb in self.list_commands(ctx)]:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> NoReturn:
        _open_closed_streams()
        extra |= {"standalone_mode": False, "prog_name": self.name}
        try:
            code = super().main(args, **extra)
            sys.stdout.flush()
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            abandon_output()
            sys.exit(FAILED)
        except (click.ClickException, CasonaError, OSError) as fault:
            _complain(_sentence(fault))
            sys.exit(MISUSED if isinstance(fault, click.UsageError) else FAILED)
        sys.exit(code if isinstance(code, int) else 0)


def _with_home(command: click.Command) -> click.Command:
    """Let `--home` stand after the verb too."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _with_home(inner)
    elif not any("--home" in parameter.opts for parameter in command.params):
        command.params.append(
            click.Option(
                ["--home"],
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_move,
                help="The house, as in `casona --home`.",
            )
        )
    return command


def _move(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.obj = Home(path)


def _sentence(fault: Exception) -> str:
    if isinstance(fault, click.UsageError) and fault.ctx is not None:
        message = fault.format_message().rstrip(".")
        return f"{message[:1].lower()}{message[1:]} (see `{fault.ctx.command_path} --help`)"
    if isinstance(fault, OSError) and fault.filename and fault.strerror:
        return f"{fault.filename}: {fault.strerror}"
    return fault.format_message() if isinstance(fault, click.ClickException) else str(fault)


def _complain(message: str) -> None:
    for line in message.splitlines():
        click.echo(f"casona: {line}", err=True)


def _open_closed_streams() -> None:
    """Whoever starts us without standard streams gets ones that hold nothing; Python itself leaves None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open for as long as we run


def abandon_output() -> None:
    """Whoever read our output has left; the interpreter must not stumble over it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
