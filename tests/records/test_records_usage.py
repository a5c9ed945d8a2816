import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.records.usage_rows import row

from casona.exchange.errors import CasonaError
from casona.records import sqlite
from casona.records.database import Database, open_database
from casona.records.tables import usage
from casona.records.usage import Ledger

URL = "sqlite:///casona.db"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(URL, tmp_path)
    yield database
    database.close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "usage.journal"


def stored(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(usage.c.request_id).order_by(usage.c.request_id)).scalars())


def eventually_stored(database: Database, wanted: list[str]) -> bool:
    deadline = time.monotonic() + 20
    while stored(database) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return stored(database) == wanted


def test_a_row_is_stored_as_it_was_recorded(database: Database, journal: Path) -> None:
    ledger = Ledger(database, journal)
    recorded = row("req_1")
    ledger.record(recorded)
    ledger.close()
    with database.read() as connection:
        stored_row = connection.execute(select(usage)).mappings().one()
    assert dict(stored_row) == {field: getattr(recorded, field) for field in recorded.__struct_fields__}
    assert journal.read_bytes() == b""


def test_rows_reach_the_database_by_themselves(database: Database, journal: Path) -> None:
    ledger = Ledger(database, journal)
    ledger.record(row("req_1"))
    assert eventually_stored(database, ["req_1"])
    ledger.record(row("req_2"))
    assert eventually_stored(database, ["req_1", "req_2"])
    ledger.close()


def test_a_row_recorded_twice_counts_once(database: Database, journal: Path) -> None:
    ledger = Ledger(database, journal)
    ledger.record(row("req_1"))
    assert ledger.settle()
    ledger.record(row("req_1", prompt_tokens=1))
    ledger.close()
    assert stored(database) == ["req_1"]


def test_rows_of_a_crash_are_there_after_the_start(database: Database, journal: Path) -> None:
    ledger = Ledger(database, journal)
    ledger.record(row("req_1"))
    left = journal.read_bytes()
    ledger.close()
    journal.write_bytes(left + left.replace(b"req_1", b"req_2") + b'["req_3", 1')
    Ledger(database, journal).close()
    assert stored(database) == ["req_1", "req_2"]


@pytest.mark.parametrize(
    "spoilt", [b"", b"\x00\x00", b"[]", b"{}", b'"x"', b"\xff", b'["req_9"]', b"[" * 10_000]
)
def test_a_spoilt_line_costs_no_other(
    database: Database, journal: Path, spoilt: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(database, journal)
    ledger.record(row("req_1"))
    good = journal.read_bytes()
    ledger.close()
    journal.write_bytes(good + spoilt + b"\n" + good.replace(b"req_1", b"req_2"))
    Ledger(database, journal).close()
    assert stored(database) == ["req_1", "req_2"]
    assert [message.split(":")[0] for message in caplog.messages] == [
        "skipped a spoilt line of the usage journal"
    ]


@pytest.mark.parametrize(
    "absurd", [{"model": "\ud800"}, {"prompt_tokens": 2**70}, {"total_ms": float("nan")}]
)
def test_a_row_that_cannot_be_written_fails_nothing(
    database: Database, journal: Path, absurd: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(database, journal)
    ledger.record(row("req_absurd", **absurd))
    ledger.record(row("req_1"))
    ledger.close()
    assert stored(database) == ["req_1"]
    assert len(caplog.messages) == 1


def test_a_locked_database_delays_rows_and_says_so_once(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite, "_PRAGMAS", ("PRAGMA journal_mode = WAL", "PRAGMA busy_timeout = 1"))
    database = open_database(URL, tmp_path)
    ledger = Ledger(database, journal)
    with database.write():
        for number in range(3):
            ledger.record(row(f"req_{number}"))
            assert not ledger.settle()
    ledger.close()
    assert stored(database) == ["req_0", "req_1", "req_2"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    database.close()


def test_rows_of_a_full_disk_are_kept_until_there_is_room(
    database: Database, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(database, journal)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: 0)
        ledger.record(row("req_1"))
    assert journal.read_bytes() == b""
    ledger.record(row("req_2"))
    ledger.close()
    assert stored(database) == ["req_1", "req_2"]


def test_a_directory_is_no_journal(database: Database, journal: Path) -> None:
    journal.mkdir()
    with pytest.raises(CasonaError, match=r"usage\.journal cannot be used: Is a directory"):
        Ledger(database, journal)


def test_rows_of_many_threads_are_all_there(database: Database, journal: Path) -> None:
    ledger = Ledger(database, journal)
    names = [[f"req_{thread}_{number:04}" for number in range(500)] for thread in range(4)]
    threads = [threading.Thread(target=lambda ids=ids: [ledger.record(row(i)) for i in ids]) for ids in names]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ledger.settle()
    ledger.close()
    assert stored(database) == sorted(name for ids in names for name in ids)


WRITER = """
import sys, pathlib
from casona.records import usage
from casona.records.database import open_database
from tests.records.usage_rows import row
usage.SETTLE_S = 0.005
home = pathlib.Path(sys.argv[1])
ledger = usage.Ledger(open_database("sqlite:///casona.db", home), home / "usage.journal")
for number in range(10**9):
    name = f"{sys.argv[2]}_{number:08}"
    ledger.record(row(name))
    print(name, flush=True)
"""


def test_a_kill_loses_no_settled_row(tmp_path: Path, journal: Path) -> None:
    settled: list[str] = []
    for life in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), f"req_{life}"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert writer.stdout
        wanted = 700 + 331 * life  # killed at another moment of the ledger's round each time
        settled += [writer.stdout.readline().strip() for _ in range(wanted)]
        writer.send_signal(signal.SIGKILL)
        settled += writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
    database = open_database(URL, tmp_path)
    Ledger(database, journal).close()
    found = stored(database)
    database.close()
    assert set(settled) <= set(found)
    assert len(found) - len(settled) <= 4  # a row may be settled just before its name could be told
