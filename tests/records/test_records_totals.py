from pathlib import Path

import pytest
from tests.records.usage_rows import row

from casona.records.database import Database, open_database
from casona.records.keys import KeyBook
from casona.records.totals import By, Total, totals
from casona.records.usage import Ledger

DAY_S = 86_400.0
NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = open_database("sqlite:///casona.db", tmp_path)
    key, _ = KeyBook(database).create("laptop")
    ledger = Ledger(database, tmp_path / "usage.journal")
    ledger.record(row("req_1", at=NOON, key_id=key.id))
    ledger.record(row("req_2", at=NOON, key_id=key.id, prompt_tokens=1, ended="error", first_token_ms=0.0))
    ledger.record(row("req_3", at=NOON + DAY_S, key_id="gone", model="qwen", node="other", zone="cloud"))
    ledger.close()
    return database


TWO = {"requests": 2, "failed": 1, "prompt_tokens": 101, "completion_tokens": 40, "cached_tokens": 128}
ONE = {"requests": 1, "failed": 0, "prompt_tokens": 100, "completion_tokens": 20, "cached_tokens": 64}


@pytest.mark.parametrize(
    ("by", "first", "second"),
    [
        ("key", "laptop", "gone"),
        ("model", "llama3:8b", "qwen"),
        ("node", "engine", "other"),
        ("zone", "local", "cloud"),
        ("day", "2027-01-15", "2027-01-16"),
    ],
)
def test_usage_adds_up(database: Database, by: By, first: str, second: str) -> None:
    assert totals(database, by=by) == [
        Total(what=first, mean_first_token_ms=12.5, **TWO),
        Total(what=second, mean_first_token_ms=12.5, **ONE),
    ]
    database.close()


def test_usage_since_a_moment_leaves_out_what_was_before(database: Database) -> None:
    assert [total.what for total in totals(database, by="model", since=NOON + 1)] == ["qwen"]
    assert totals(database, by="model", since=NOON + 2 * DAY_S) == []
    database.close()
