"""Who used what: one row for each exchange, settled before its answer ends.

`Ledger.record` appends the row to the journal, and that settles it. A thread moves rows to the database in
batches, off the request's path; a row is known by its request id, so moving it twice changes nothing.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import SQLAlchemyError

from casona.exchange.errors import CasonaError
from casona.records.database import Database
from casona.records.journal import Journal
from casona.records.tables import usage

BATCH_ROWS = 1_000  # a transaction of some 10 ms: nobody else waits long to write
SETTLE_S = 0.5  # rows of a busy gateway share transactions; a person does not see the delay
RETRY_S = 5.0
NICENESS = 10
SLICE_ROWS = 50  # a quarter of a millisecond: what an answer may have to wait where there is one core
SLICE_REST_S = 0.001
UNWRITTEN_ROWS = 10_000  # some 3 MB, kept in memory while the disk is full

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

log = logging.getLogger(__name__)


class UsageRow(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """`request_id` is the house's own and never given twice; `at` is unix seconds, when the exchange ended.

    `prompt_tokens` includes `cached_tokens`. `counted` says who counted: node, tokenizer or estimate.
    `first_token_ms` is 0 when none came. `ended`: done, length, error, hang_up, refused. New fields go last
    and have a default, so that a journal of an older Casona can be read.
    """

    request_id: str
    at: float
    key_id: str
    model: str
    node: str
    zone: str
    route: str
    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count
    counted: str
    first_token_ms: float
    total_ms: float
    ended: str
    status: Count


class Ledger:
    """Records usage. One for a house: the journal is its alone. Rows left by a crash are moved soon after.

    Raises CasonaError when the journal cannot be opened.
    """

    def __init__(self, database: Database, journal_path: Path) -> None:
        self._database = database
        try:
            self._journal = Journal(journal_path)
        except OSError as fault:
            raise CasonaError(f"{journal_path} cannot be used: {fault.strerror}") from fault
        self._encode = msgspec.json.Encoder().encode
        self._unwritten: list[bytes] = []
        self._waiting = True
        self._wake = threading.Event()
        self._wake.set()  # a crash may have left rows
        self._ended = threading.Event()
        self._settling = threading.Lock()
        self._troubled = ""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def record(self, row: UsageRow) -> None:
        """Settle one row. Never raises and never waits for the database."""
        try:
            line = self._encode(row) + b"\n"
        except (ValueError, OverflowError, TypeError) as fault:
            log.error("usage of request %s cannot be written down: %s", row.request_id, fault)
            return
        try:
            self._journal.append(line)
        except OSError as fault:
            self._keep(line, fault)
        if not self._waiting:
            self._waiting = True
            self._wake.set()

    def settle(self) -> bool:
        """Move all that was recorded to the database; False when that must be tried again later."""
        with self._settling:
            try:
                self._move_journal()
                self._move_unwritten()
            except (CasonaError, SQLAlchemyError, OSError) as fault:
                self._trouble(str(fault))
                return False
            self._trouble("")
            return True

    def close(self) -> None:
        """Move what is there and stop. What cannot be moved stays in the journal for the next start."""
        self._ended.set()
        self._wake.set()
        self._thread.join()
        self.settle()
        if self._unwritten:
            log.error("%d usage rows are lost: they could be written nowhere", len(self._unwritten))
        self._journal.close()

    def _run(self) -> None:
        _yield_the_core()
        while not self._ended.is_set():
            self._wake.wait()
            self._wake.clear()
            self._ended.wait(SETTLE_S)
            self._waiting = False
            while not self.settle() and not self._ended.wait(RETRY_S):
                pass

    def _move_journal(self) -> None:
        while (part := self._journal.part()) is not None:
            with part.open("rb") as lines:
                self._insert(_rows(lines))
            self._journal.forget()

    def _move_unwritten(self) -> None:
        lines = self._unwritten[:]
        self._insert(_rows(lines))
        del self._unwritten[: len(lines)]

    def _insert(self, rows: Iterator[UsageRow]) -> None:
        while batch := [msgspec.structs.astuple(row) for row in islice(rows, BATCH_ROWS)]:
            with self._database.write() as connection:
                _insert(connection, batch)

    def _keep(self, line: bytes, fault: OSError) -> None:
        self._trouble(f"the usage journal cannot be written: {fault.strerror}")
        if len(self._unwritten) < UNWRITTEN_ROWS:
            self._unwritten.append(line)

    def _trouble(self, what: str) -> None:
        """Say once that something is wrong, and once that it is over."""
        if what and not self._troubled:
            log.error("usage is kept aside and tried again: %s", what)
        elif self._troubled and not what:
            log.info("usage is written down again")
        self._troubled = what


def _yield_the_core() -> None:
    """Let answers go before this thread where both share a core. Elsewhere than on Linux a thread has no
    priority of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_decode = msgspec.json.Decoder(UsageRow).decode


def _rows(lines: Iterable[bytes]) -> Iterator[UsageRow]:
    for line in lines:
        try:
            yield _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            log.warning("skipped a spoilt line of the usage journal: %s", fault)


def _insert(connection: Connection, rows: list[tuple[object, ...]]) -> None:
    """Insert rows that are not there yet; on SQLite past SQLAlchemy, which would cost half again."""
    if connection.dialect.name == "sqlite":
        for start in range(0, len(rows), SLICE_ROWS):
            connection.exec_driver_sql(_SQLITE_INSERT, rows[start : start + SLICE_ROWS])
            time.sleep(SLICE_REST_S)
    else:
        from sqlalchemy.dialects import postgresql  # a tenth of a second that few houses need

        names = [column.name for column in usage.columns]
        statement = postgresql.insert(usage).on_conflict_do_nothing()
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])


_SQLITE_INSERT = str(sqlite.insert(usage).on_conflict_do_nothing().compile(dialect=sqlite.dialect()))
