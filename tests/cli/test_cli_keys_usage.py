"""`casona keys` and `casona usage` against a running house."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.records.usage_rows import row
from tests.web.admin_house import INSTANCE, House, admin_house

from casona.cli import main
from casona.home import Home

Casona = Callable[..., str]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with admin_house(Home(tmp_path)) as house, house.home.announced(house.url, INSTANCE):
        yield house


@pytest.fixture
def casona(house: House) -> Casona:
    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["--home", str(house.home.path), *arguments])
        assert result.exit_code == code, result.output
        return result.stderr if code else result.stdout

    return run


def listed(casona: Casona, *more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(casona("keys", "list", "--json", *more))
    return found


def test_a_new_key_is_printed_alone_on_its_line(casona: Casona) -> None:
    assert re.fullmatch(r"csn-[A-Za-z0-9_-]{43}\n", casona("keys", "create", "laptop"))


def test_a_key_takes_its_limits_from_the_command(casona: Casona) -> None:
    made = json.loads(
        casona("keys", "create", "lap top", "--models", "a, b,", "--max-zone", "private", "--admin", "--json")
    )
    assert made.pop("key").startswith(made["prefix"])
    assert listed(casona)[1] == made
    assert (made["name"], made["models"], made["max_zone"], made["admin"]) == (
        "lap top",
        ["a", "b"],
        "private",
        True,
    )


def test_a_revoked_key_is_listed_only_when_asked(casona: Casona) -> None:
    casona("keys", "create", "lap top")
    prefix = listed(casona)[1]["prefix"]
    assert casona("keys", "revoke", "lap top") == f"revoked lap top ({prefix}…)\n"
    assert [key["name"] for key in listed(casona)] == ["admin"]
    assert [key["name"] for key in listed(casona, "--all")] == ["admin", "lap top"]
    assert casona("keys", "list", "--all").splitlines()[0].split() == (
        ["name", "key", "admin", "models", "max", "zone", "created", "revoked"]
    )


def test_what_the_house_refuses_is_one_line(casona: Casona) -> None:
    assert casona("keys", "revoke", "nobody", code=1) == (
        "casona: there is no active key 'nobody'; `casona keys list` shows them\n"
    )
    assert casona("keys", "revoke", "admin", code=1) == (
        "casona: admin is the last admin key; create another one with --admin first\n"
    )


def test_usage_is_shown_by_what_is_asked(casona: Casona, house: House) -> None:
    house.ledger.record(row("req_1", at=time.time()))
    house.ledger.record(row("req_2", at=time.time() - 3 * 86_400, model="qwen", prompt_tokens=2000))
    assert casona("usage") == (
        "model      requests  failed  prompt tokens  of them cached  answer tokens  first token ms\n"
        "qwen              1       0          2,000              64             20              12\n"
        "llama3:8b         1       0            100              64             20              12\n"
    )
    assert [total["what"] for total in json.loads(casona("usage", "--by", "node", "--json"))] == ["engine"]


@pytest.mark.parametrize(
    ("since", "models"),
    [
        ("2d", ["new"]),
        ("2w", ["old", "new"]),
        ("2027-01-15", ["old", "new"]),
        ("2027-01-15T12:00:01+00:00", ["new"]),
    ],
)
def test_usage_since_a_moment(
    casona: Casona, house: House, monkeypatch: pytest.MonkeyPatch, since: str, models: list[str]
) -> None:
    noon = 1_800_014_400.0  # 2027-01-15 12:00 UTC
    house.ledger.record(row("req_1", at=noon, model="old", prompt_tokens=2000))
    house.ledger.record(row("req_2", at=noon + 3 * 86_400, model="new"))
    monkeypatch.setattr("casona.cli.usage.time.time", lambda: noon + 4 * 86_400)
    assert [total["what"] for total in json.loads(casona("usage", "--since", since, "--json"))] == models
