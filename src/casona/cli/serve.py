"""`casona serve`: run the house until it is told to stop."""

import logging
import os
import sys

import click

from casona.home import Home


@click.command()
@click.option("--host", help="Address to listen on; server.host otherwise.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; server.port otherwise.")
@click.pass_obj
def serve(home: Home, host: str | None, port: int | None) -> None:
    """Run the server of this house."""
    import uvloop

    from casona import logs, wiring
    from casona.web.server import bind, url_of

    home.create()
    read = wiring.configuration(home, os.environ)
    settings = read.settings
    logs.start(settings.log)
    for warning in read.warnings:
        logging.getLogger("casona").warning(warning)
    with wiring.opened(home, settings, "casona serve") as house:
        listening = bind(host or settings.server.host, settings.server.port if port is None else port)
        url = url_of(listening)

        with home.announced(url, house.instance):
            uvloop.run(wiring.serve(house, listening, _say))


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()
