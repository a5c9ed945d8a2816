"""`casona keys`: who may come in."""

from typing import Any

import click

from casona.cli.door import open_door
from casona.cli.output import moment, print_json, print_table
from casona.exchange.zones import Zone
from casona.home import Home


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--models", default="", metavar="A,B", help="The models it may use, as clients name them. All by default."
)
@click.option(
    "--max-zone",
    type=click.Choice([zone.value for zone in Zone]),
    help="The furthest its requests may travel. The house's own limit by default.",
)
@click.option("--admin", is_flag=True, help="Whether it may administer the house.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_obj
def create(home: Home, name: str, models: str, max_zone: str | None, admin: bool, as_json: bool) -> None:
    """Make a key called NAME and print it, this once: the house keeps only its hash."""
    wanted = {
        "name": name,
        "models": [model.strip() for model in models.split(",") if model.strip()],
        "max_zone": max_zone,
        "admin": admin,
    }
    with open_door(home) as door:
        made = door.post_json("/admin/keys", wanted)
    if as_json:
        print_json(made)
        return
    click.echo(made["key"])
    click.echo("Keep it now: it is shown only this once.", err=True)


@keys.command("list")
@click.option("--all", "everything", is_flag=True, help="Revoked keys too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
@click.pass_obj
def list_keys(home: Home, everything: bool, as_json: bool) -> None:
    """List the keys of the house."""
    with open_door(home) as door:
        found = [key for key in door.get_json("/admin/keys")["keys"] if everything or not key["revoked"]]
    if as_json:
        print_json(found)
        return
    columns = ["name", "key", "admin", "models", "max zone", "created"]
    print_table([*columns, "revoked"] if everything else columns, [_row(key, everything) for key in found])


@keys.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_obj
def revoke(home: Home, name: str, as_json: bool) -> None:
    """End the key called NAME (or with this id) for good, at once."""
    with open_door(home) as door:
        revoked = door.delete(f"/admin/keys/{_in_path(name)}")
    if as_json:
        print_json(revoked)
    else:
        click.echo(f"revoked {revoked['name']} ({revoked['prefix']}…)")


def _row(key: dict[str, Any], everything: bool) -> list[object]:
    row = [
        key["name"],
        f"{key['prefix']}…",
        key["admin"],
        ", ".join(key["models"]) or "all",
        key["max_zone"],
        moment(key["created"]),
    ]
    return [*row, moment(key["revoked"])] if everything else row


def _in_path(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
