"""The command `casona`: one verb, one file, imported when it is asked for."""

from pathlib import Path

import click

from casona import __version__
from casona.cli.verbs import Verbs
from casona.home import Home

# What each verb does, told here so that `casona --help` imports none of them. The command is the
# function of the verb's name in the module of its name.
VERBS = {
    "serve": "Run the server of this house.",
    "chat": "Talk to a model.",
    "ask": "Ask a question about your documents.",
    "pull": "Fetch a model.",
    "models": "List, show, update and remove models.",
    "warm": "Load models, so that the first answer comes at once.",
    "ingest": "Put documents into the library.",
    "search": "Find passages in your documents.",
    "library": "List, show and remove documents.",
    "keys": "Create, list and revoke API keys.",
    "usage": "Show who used what.",
}


@click.group("casona", cls=Verbs, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    envvar="CASONA_HOME",
    show_envvar=True,
    default="~/.casona",
    show_default=True,
    help="The house: where settings, models, documents and records are.",
)
@click.pass_context
def main(context: click.Context, home: Path) -> None:
    """A private AI server for the house."""
    context.obj = Home(home)
