"""SQLite as Casona uses it: write-ahead log, one writer at a time, nothing deleted left behind.

Source: https://www.sqlite.org/pragma.html, https://www.sqlite.org/wal.html
"""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from casona.records.errors import DAMAGED, NO_DATABASE, DatabaseRefused

MAGIC = b"SQLite format 3\x00"  # https://www.sqlite.org/fileformat.html, section 1.3
BUSY_TIMEOUT_MS = 5_000
CHECKED_BYTES = 8 * 2**20  # takes some 10 ms; damage in a larger file is told when it is met

_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",  # a power cut may cost the last commits, never the file
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
)


def engine(url: URL, home: Path) -> tuple[Engine, str]:
    """An engine for the file, and the file's name for messages. Raises DatabaseRefused."""
    if not url.database or url.database == ":memory:":
        raise DatabaseRefused("database: sqlite needs a file, such as sqlite:///casona.db")
    path = home / Path(url.database).expanduser()
    _look_at(path)
    made = create_engine(url.set(database=str(path)), connect_args={"check_same_thread": False})
    event.listen(made, "connect", _prepare)
    event.listen(made, "begin", _begin)
    return made, str(path)


def check(connection: Connection) -> None:
    """Look for damage all over a database that is small enough. Raises DatabaseRefused."""
    pages, page_bytes = (
        connection.exec_driver_sql(f"PRAGMA {number}").scalar_one() for number in ("page_count", "page_size")
    )
    if pages * page_bytes <= CHECKED_BYTES:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise DatabaseRefused(DAMAGED)


def checkpoint(made: Engine) -> None:
    """Write the log back and empty it, so that nothing deleted is left in it."""
    connection = made.raw_connection()
    try:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _look_at(path: Path) -> None:
    """Refuse what is no database before SQLite can touch it; a new one is its owner's alone to read."""
    try:
        path.touch(mode=0o600)
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as fault:
        raise DatabaseRefused(f"{path}: it cannot be opened: {fault.strerror}") from fault
    if head and head != MAGIC:
        raise DatabaseRefused(f"{path}: {NO_DATABASE}")


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin`, not guessed by the driver
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    """A writer takes its place at once: one that has read first could no longer wait for another's end."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
