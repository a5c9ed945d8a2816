"""`casona warm`: have models ready before the first question."""

import click

from casona.cli.door import Door, open_door
from casona.cli.output import CliError, print_json
from casona.home import Home


@click.command()
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each model.")
@click.pass_obj
def warm(home: Home, names: tuple[str, ...], as_json: bool) -> int:
    """Pull what is missing of MODEL..., and load each on its node.

    Goes on after a failure and ends with a summary; exit code 1 if one failed.
    """
    with open_door(home) as door:
        problems = {name: _warmed(door, name, as_json) for name in dict.fromkeys(names)}
    for name, problem in problems.items():
        if as_json:
            print_json({"name": name, "ok": not problem, "problem": problem})
        else:
            click.echo(f"{name}: {problem or 'ready'}")
    failed = sum(1 for problem in problems.values() if problem)
    if not as_json:
        click.echo(f"{len(problems) - failed} of {len(problems)} ready")
    return 1 if failed else 0


def _warmed(door: Door, name: str, quiet: bool) -> str:
    """Why it is not ready, or ""."""
    from casona.cli import progress

    try:
        events = door.stream_lines("/admin/models/load", {"name": name})
        if quiet:
            for _ in events:
                pass
        else:
            progress.show(events)
    except CliError as error:
        return str(error)
    return ""
