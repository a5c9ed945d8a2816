from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.records.usage_rows import row
from tests.web.admin_house import House, admin_house

from casona.cli.client import Client
from casona.cli.output import CliError
from casona.home import Home


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with admin_house(Home(tmp_path)) as house:
        yield house


@pytest.fixture
def admin(house: House) -> Client:
    return Client(house.url, house.api_key)


def shown(admin: Client) -> list[tuple[str, bool]]:
    return [(key["name"], key["revoked"] is None) for key in admin.get_json("/admin/keys")["keys"]]


def test_a_key_is_made_shown_and_revoked(admin: Client) -> None:
    made = admin.post_json("/admin/keys", {"name": "laptop", "models": ["m"], "max_zone": "local"})
    secret = made.pop("key")
    assert secret.startswith(made["prefix"])
    assert admin.get_json("/admin/keys")["keys"][1] == made
    assert {name: made[name] for name in ("name", "admin", "models", "max_zone", "revoked")} == {
        "name": "laptop",
        "admin": False,
        "models": ["m"],
        "max_zone": "local",
        "revoked": None,
    }
    assert admin.delete("/admin/keys/laptop")["id"] == made["id"]
    assert shown(admin) == [("admin", True), ("laptop", False)]


def test_a_new_key_works_at_once_and_a_revoked_one_no_more(admin: Client, house: House) -> None:
    second = Client(house.url, admin.post_json("/admin/keys", {"name": "second", "admin": True})["key"])
    assert shown(second) == [("admin", True), ("second", True)]
    admin.delete("/admin/keys/second")
    with pytest.raises(CliError, match="this API key is not known here, or was revoked"):
        shown(second)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/keys"),
        ("POST", "/admin/keys"),
        ("DELETE", "/admin/keys/admin"),
        ("GET", "/admin/usage"),
    ],
)
def test_only_admin_keys_administer(admin: Client, house: House, method: str, path: str) -> None:
    plain = Client(house.url, admin.post_json("/admin/keys", {"name": "plain"})["key"])
    for client, complaint in (
        (plain, "this needs an admin key"),
        (Client(house.url, ""), "no API key was given: .*"),
    ):
        with pytest.raises(CliError, match=complaint):
            client._exchange(method, path, {}, b'{"name": "intruder"}' if method == "POST" else None)
    assert shown(admin) == [("admin", True), ("plain", True)]


def test_usage_just_recorded_is_shown(admin: Client, house: House) -> None:
    house.ledger.record(row("req_1"))
    house.ledger.record(row("req_2", model="qwen", at=1.0))
    assert admin.get_json("/admin/usage", since=2.0) == {
        "totals": [
            {
                "what": "llama3:8b",
                "requests": 1,
                "failed": 0,
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "cached_tokens": 64,
                "mean_first_token_ms": 12.5,
            }
        ]
    }
    assert [total["what"] for total in admin.get_json("/admin/usage", by="day")["totals"]] == [
        "1970-01-01",
        "2027-01-15",
    ]


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "a", "max_zone": "moon"}, {"name": "a", "limit": 1}, {"name": "a/b"}]
)
def test_a_senseless_key_is_refused(admin: Client, body: dict[str, object]) -> None:
    with pytest.raises(CliError):
        admin.post_json("/admin/keys", body)
    assert shown(admin) == [("admin", True)]
