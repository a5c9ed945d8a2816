"""The one database of a house: SQLite beside the rest, or Postgres when several gateways share it.

    with database.read() as connection: ...    # sees one state of it throughout
    with database.write() as connection: ...   # all of it or nothing; one writer at a time

Both raise OutOfSpace, DatabaseBusy and DatabaseRefused, and what was stored stays readable.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from casona.exchange.errors import CasonaError
from casona.records import postgres, schema, sqlite
from casona.records.errors import DatabaseRefused, refusal


class Database:
    """Use `open_database`. Safe to share between threads. `dialect` is "sqlite" or "postgresql"."""

    def __init__(self, engine: Engine, where: str) -> None:
        self._engine = engine
        self._where = where
        self.dialect = engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._told(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._told(), self._engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def checkpoint(self) -> None:
        """Empty SQLite's log, so that nothing deleted is left in it. Postgres sees to that itself."""
        if self.dialect == "sqlite":
            with self._told():
                sqlite.checkpoint(self._engine)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as fault:
            known = refusal(fault, self._where)
            if known is None:
                raise
            raise known from fault


def open_database(url: str, home: Path) -> Database:
    """Open what `url` names, made or brought up to date as needed; relative paths mean `home`.

    Raises DatabaseRefused, and then nothing was written; OutOfSpace; DatabaseBusy.
    """
    engine, where = _engine(url, home)
    database = Database(engine, where)
    try:
        _bring_up_to_date(database)
    except CasonaError as fault:
        database.close()
        raise (fault if where in str(fault) else type(fault)(f"{where}: {fault}")) from fault
    except DBAPIError as fault:
        database.close()
        raise DatabaseRefused(f"{where}: it cannot be brought up to date: {fault.orig}") from fault
    return database


def _engine(url: str, home: Path) -> tuple[Engine, str]:
    try:
        parsed = make_url(url)
    except ArgumentError as fault:
        raise DatabaseRefused("database: must look like sqlite:///casona.db or postgresql://…") from fault
    match parsed.get_backend_name():
        case "sqlite":
            return sqlite.engine(parsed, home)
        case "postgresql":
            return postgres.engine(parsed)
        case other:
            raise DatabaseRefused(f"database: {other} is not supported; use sqlite:///… or postgresql://…")


def _bring_up_to_date(database: Database) -> None:
    with database.read() as connection:
        if database.dialect == "sqlite":
            sqlite.check(connection)
        if schema.is_current(connection):
            return
    with database.write() as connection:
        if not schema.is_current(connection):  # another process may have been faster
            schema.migrate(connection)
