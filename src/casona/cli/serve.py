"""`casona serve`: run the house until it is told to stop."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import NoReturn

import click

from casona.cli.pull import fetch
from casona.cli.verbs import abandon_output
from casona.exchange.errors import CasonaError
from casona.home import Home


@click.command()
@click.option("--host", help="Address to listen on; server.host otherwise.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; server.port otherwise.")
@click.pass_obj
def serve(home: Home, host: str | None, port: int | None) -> None:
    """Run the server of this house."""
    import uvloop

    from casona import logs, running, wiring
    from casona.web.server import bind, url_of

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    home.create()
    read = running.configuration(home, os.environ)
    settings = read.settings
    logs.start(settings.log)
    for warning in read.warnings:
        logging.getLogger("casona").warning(warning)
    with wiring.opened(home, settings, "casona serve") as house:
        listening = bind(host or settings.server.host, settings.server.port if port is None else port)
        url = url_of(listening)

        with home.announced(url, house.instance):
            uvloop.run(running.serve(house, listening, _say, partial(_advise, home)))


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End by unwinding, so that the house is closed in order, however far it has come.

    uvicorn takes the signals while it serves, and raises the one that stopped it again afterwards: left to
    itself SIGTERM would then kill the process on the spot, and SIGINT cancel the first thing to be closed.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(0)


def _say(line: str) -> None:
    """One line of the greeting. Who reads it may leave; the house stays open."""
    try:
        click.echo(line)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_output()


def _advise(home: Home, line: str, offer: Callable[[Callable[[str], bool]], str]) -> None:
    """Tell who has no model yet how to get the best one; on a terminal, offer to do it."""
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    name = offer(lambda question: click.confirm(question, default=True)) if on_terminal else ""
    if not name:
        _say(line)
        return
    try:
        fetch(home, name)
    except CasonaError as fault:
        _say(f"casona: {fault}")
