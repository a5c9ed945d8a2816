"""`casona models`: what is on the disk."""

from typing import Any
from urllib.parse import quote

import click

from casona.cli.door import Door, open_door
from casona.cli.output import CliError, moment, print_json, print_table
from casona.cli.sizes import gigabytes
from casona.home import Home


@click.group()
def models() -> None:
    """List, show, update and remove models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
@click.pass_obj
def list_models(home: Home, as_json: bool) -> None:
    """List the models on this machine's disk."""
    with open_door(home) as door:
        found = door.get_json("/admin/models")["models"]
    if as_json:
        print_json(found)
    elif found:
        columns = ["name", "size", "quantisation", "context", "from", "changed", "problem"]
        print_table(columns, [_row(model) for model in found])
    else:
        click.echo("no models yet; `casona pull --recommend` shows which suit this machine", err=True)


@models.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_obj
def show(home: Home, name: str, as_json: bool) -> None:
    """Show licence, size, context and template of the model NAME, and versions kept from before updates."""
    with open_door(home) as door:
        model = door.get_json(f"/admin/models/{quote(name, safe='')}")
    if as_json:
        print_json(model)
        return
    for label, value in _facts(model):
        click.echo(f"{label:<13} {_safe(value)}")
    for label, text in (
        ("system", model["system"]),
        ("template", model["template"]),
        ("licence", _long(model)),
    ):
        if text:
            click.echo(f"\n{label}:\n{_safe(text)}")


@models.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Update every pulled model.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each model.")
@click.pass_obj
def update(home: Home, names: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Fetch the newest version of the models NAMES. The old one stays until it is removed."""
    if bool(names) == everything:
        raise click.UsageError("name the models to update, or say --all")
    with open_door(home) as door:
        wanted = _pulled(door) if everything else names
        outcomes = [_updated(door, name, as_json) for name in wanted]
    return 0 if all(outcomes) else 1


@models.command()
@click.argument("name")
@click.option(
    "--version", default="", metavar="DIGEST", help="Only the earlier version whose digest begins so."
)
@click.option("--yes", is_flag=True, help="Without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_obj
def remove(home: Home, name: str, version: str, yes: bool, as_json: bool) -> None:
    """Remove the model NAME from the disk, or an earlier version of it."""
    if not yes:
        what = f"version {version} of {name}" if version else name
        click.confirm(f"Remove {what} from the disk?", abort=True, err=True)
    with open_door(home) as door:
        removed = door.delete(f"/admin/models/{quote(name, safe='')}", version=version or None)
    if as_json:
        print_json(removed)
    else:
        click.echo(f"removed {name}: {gigabytes(removed['freed_bytes'])} freed")


def _pulled(door: Door) -> list[str]:
    return [model["name"] for model in door.get_json("/admin/models")["models"] if model["origin"] != "file"]


def _updated(door: Door, name: str, as_json: bool) -> bool:
    """Whether it went well; the next model is tried in any case."""
    from casona.cli import progress

    try:
        events = door.stream_lines("/admin/models/update", {"name": name})
        if as_json:
            for _ in events:
                pass
        else:
            progress.show(events)
    except CliError as error:
        problem = str(error)
    else:
        problem = ""
    if as_json:
        print_json({"name": name, "ok": not problem, "problem": problem})
    else:
        click.echo(f"{name}: {problem or 'up to date'}", err=bool(problem))
    return not problem


def _row(model: dict[str, Any]) -> list[object]:
    return [
        model["name"],
        gigabytes(model["size_bytes"]),
        model["quantisation"],
        model["context_tokens"] or None,
        model["origin"],
        moment(model["modified"]),
        model["broken"],
    ]


def _facts(model: dict[str, Any]) -> list[tuple[str, object]]:
    facts = [
        ("name", model["name"]),
        ("problem", model["broken"]),
        ("from", model["source"] or model["origin"]),
        ("licence", model["license"].strip().splitlines()[0] if model["license"].strip() else "not stated"),
        ("size", gigabytes(model["size_bytes"])),
        ("context", f"{model['context_tokens']:,} tokens" if model["context_tokens"] else ""),
        ("architecture", model["architecture"]),
        ("parameters", f"{model['parameters'] / 1e9:.1f} billion" if model["parameters"] > 5e7 else ""),
        ("quantisation", model["quantisation"]),
        ("can", _abilities(model)),
        ("digest", model["digest"]),
        ("changed", moment(model["modified"])),
        ("settings", ", ".join(f"{key}={value}" for key, value in model["parameters_set"].items())),
    ]
    facts += [("file", path) for path in model["files"]]
    facts += [
        ("earlier", f"{one['digest'][:12]}, {gigabytes(one['size_bytes'])}, pulled {moment(one['pulled'])}")
        for one in model["previous"]
    ]
    return [(label, value) for label, value in facts if value]


def _abilities(model: dict[str, Any]) -> str:
    if model["broken"]:
        return ""
    return "embed" if model["embeds"] else "chat, see images" if model["vision"] else "chat"


def _long(model: dict[str, Any]) -> str:
    text = str(model["license"]).strip()
    return text if "\n" in text else ""


def _safe(value: object) -> str:
    """Texts of a model come from elsewhere: nothing in them may steer the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in str(value))
