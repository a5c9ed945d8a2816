"""`casona pull`: fetch a model."""

from typing import Any

import click

from casona.cli.door import open_door
from casona.cli.output import print_json, print_table
from casona.cli.sizes import gigabytes
from casona.home import Home


@click.command()
@click.argument("name", required=False)
@click.option("--recommend", is_flag=True, help="Show which models suit this machine's memory.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line, for programs.")
@click.pass_obj
def pull(home: Home, name: str | None, recommend: bool, as_json: bool) -> None:
    """Fetch the model NAME: llama3:8b, user/model:tag, or hf.co/org/repo:Q4_K_M.

    A pull that was cut goes on where it was. The model is served under the name it was pulled by.
    """
    if recommend:
        _recommend(home, as_json)
    elif name is None:
        raise click.UsageError("name a model, such as llama3:8b, or ask with --recommend")
    else:
        fetch(home, name, as_json=as_json)


def fetch(home: Home, name: str, *, as_json: bool = False) -> None:
    """Pull a model into a house, and show how far it is. Raises CasonaError."""
    from casona.cli import progress

    with open_door(home) as door:
        events = door.stream_lines("/admin/models/pull", {"name": name})
        if as_json:
            for event in events:
                print_json(event)
            return
        progress.show(events)
    click.echo(f"{name} is ready: casona chat {name}")


def _recommend(home: Home, as_json: bool) -> None:
    with open_door(home) as door:
        told = door.get_json("/admin/recommendations")
    if as_json:
        print_json(told)
        return
    columns = ["model", "quantisation", "on disk", "in memory", "fits", "good for"]
    print_table(columns, [_row(model) for model in told["models"]])
    best = told["recommended"]
    advice = f"Best for it: casona pull {best}" if best else "That is too little for these."
    click.echo(f"\nThis machine has {gigabytes(told['memory_bytes'])} of memory. {advice}")


def _row(model: dict[str, Any]) -> list[object]:
    return [
        model["name"],
        model["quantisation"],
        gigabytes(model["file_bytes"]),
        gigabytes(model["needs_bytes"]),
        model["fits"],
        model["note"],
    ]
