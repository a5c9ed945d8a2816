"""`casona pull`: fetch a model."""

import click

from casona.cli.door import open_door
from casona.cli.output import print_json, print_table
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
        _recommend(as_json)
    elif name is None:
        raise click.UsageError("name a model, such as llama3:8b, or ask with --recommend")
    else:
        _pull(home, name, as_json)


def _pull(home: Home, name: str, as_json: bool) -> None:
    from casona.cli import progress

    with open_door(home) as door:
        events = door.stream_lines("/admin/models/pull", {"name": name})
        if as_json:
            for event in events:
                print_json(event)
            return
        progress.show(events)
    click.echo(f"{name} is ready: casona chat {name}")


def _recommend(as_json: bool) -> None:
    from dataclasses import asdict

    from casona.engine.machine import usable_bytes
    from casona.engine.recommend import best, gigabytes
    from casona.engine.recommend import recommend as suggestions

    memory_bytes = usable_bytes()
    found, first = suggestions(memory_bytes), best(memory_bytes)
    if as_json:
        models = [asdict(one) for one in found]
        print_json(
            {"memory_bytes": memory_bytes, "recommended": first.name if first else None, "models": models}
        )
        return
    columns = ["model", "quantisation", "on disk", "in memory", "fits", "good for"]
    print_table(
        columns,
        [
            [
                one.name,
                one.quantisation,
                gigabytes(one.file_bytes),
                gigabytes(one.needs_bytes),
                one.fits,
                one.note,
            ]
            for one in found
        ],
    )
    click.echo(
        f"\nThis machine has {gigabytes(memory_bytes)} of memory. " + _advice(first.name if first else "")
    )


def _advice(name: str) -> str:
    return f"Best for it: casona pull {name}" if name else "That is too little for these."
