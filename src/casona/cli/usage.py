"""`casona usage`: who used what."""

import re
import time
from datetime import UTC, datetime

import click

from casona.cli.door import open_door
from casona.cli.output import print_json, print_table
from casona.home import Home

DIMENSIONS = ("key", "model", "node", "zone", "day")
UNIT_S = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """A moment as unix seconds: `7d` (or m, h, w) ago, or a date or time, in UTC unless it says another."""
    if value is None:
        return None
    if ago := re.fullmatch(r"(\d{1,6})([mhdw])", value):
        return max(0.0, time.time() - int(ago[1]) * UNIT_S[ago[2]])
    try:
        moment = datetime.fromisoformat(value)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as fault:
        raise click.BadParameter(f"{value!r} is no time; write 24h, 7d or 2026-11-01") from fault


@click.command()
@click.option(
    "--by", type=click.Choice(DIMENSIONS), default="model", show_default=True, help="What to add up by."
)
@click.option(
    "--since", callback=_moment, metavar="WHEN", help="Only what was used since: 24h, 7d, 2026-11-01 (UTC)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
@click.pass_obj
def usage(home: Home, by: str, since: float | None, as_json: bool) -> None:
    """Show who used what: requests and tokens per key, model, node, zone or day."""
    with open_door(home) as door:
        totals = door.get_json("/admin/usage", by=by, since=since)["totals"]
    if as_json:
        print_json(totals)
        return
    columns = [by, "requests", "failed", "prompt tokens", "of them cached", "answer tokens", "first token ms"]
    fields = ["what", "requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens"]
    rows = [[*(total[field] for field in fields), total["mean_first_token_ms"]] for total in totals]
    print_table(columns, rows)
