import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from casona.exchange.errors import OutOfSpace
from casona.records import schema, sqlite
from casona.records.database import Database, open_database
from casona.records.errors import DatabaseBusy, DatabaseRefused, refusal
from casona.records.tables import house, metadata, usage

URL = "sqlite:///casona.db"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(URL, tmp_path)
    yield database
    database.close()


def opened(home: Path) -> None:
    open_database(URL, home).close()


def pragma(database: Database, name: str) -> object:
    with database.read() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_a_new_database_has_its_settings(database: Database, tmp_path: Path) -> None:
    names = ("journal_mode", "busy_timeout", "foreign_keys", "secure_delete", "synchronous")
    assert [pragma(database, name) for name in names] == ["wal", 5000, 1, 1, 1]
    assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.glob("casona.db*")} == {"0o600"}


def test_the_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    if find_spec("casona.records.library_tables"):
        __import__("casona.records.library_tables")
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_revisions_are_numbered_as_their_files() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(schema.MIGRATIONS))
    assert tuple(reversed([one.revision for one in script.walk_revisions()])) == schema.revisions()
    assert script.get_heads() == [schema.revisions()[-1]]


def test_a_house_keeps_its_name(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        database = open_database(URL, tmp_path)
        with database.read() as connection:
            names.append(connection.execute(select(house.c.id)).scalar_one())
        database.close()
    assert names[0] == names[1]


def test_opening_a_current_database_leaves_alembic_alone(tmp_path: Path) -> None:
    opened(tmp_path)
    code = (
        "import sys, pathlib; from casona.records.database import open_database;"
        f"open_database({URL!r}, pathlib.Path({str(tmp_path)!r})).close();"
        "print('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate = schema.migrate

    def break_off(connection: object) -> None:
        migrate(connection)  # type: ignore[arg-type]
        raise OutOfSpace("full")

    monkeypatch.setattr(schema, "migrate", break_off)
    with pytest.raises(OutOfSpace):
        opened(tmp_path)
    with sqlite3.connect(tmp_path / "casona.db") as left:
        assert left.execute("SELECT name FROM sqlite_schema").fetchall() == []
    left.close()


def refused(home: Path) -> str:
    with pytest.raises(DatabaseRefused) as told:
        opened(home)
    return str(told.value).removeprefix(f"{home / 'casona.db'}: ")


def test_what_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "casona.db"
    file.write_bytes(b"my diary, not a database")
    assert refused(tmp_path) == "it is not a SQLite database; move it away to start with an empty one"
    assert file.read_bytes() == b"my diary, not a database"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("damage", ["cut", "overwritten", "header"])
def test_a_damaged_database_is_refused_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    opened(tmp_path)
    file = tmp_path / "casona.db"
    whole = file.read_bytes()
    broken = {
        "cut": whole[: len(whole) // 2],
        "overwritten": whole[:4096] + b"\xa5" * 8192 + whole[12288:],
        "header": whole[:100] + b"\xff" * 400 + whole[500:],
    }[damage]
    file.write_bytes(broken)
    assert refused(tmp_path) == (
        "it is damaged; restore it from a backup, or move it away to start with an empty one"
    )
    assert file.read_bytes() == broken


def test_damage_that_nothing_has_met_yet_is_refused(tmp_path: Path) -> None:
    database = open_database(URL, tmp_path)
    with database.write() as connection:
        connection.execute(insert(usage), [row(f"req_{number}") for number in range(500)])
    database.close()
    file = tmp_path / "casona.db"
    file.write_bytes(file.read_bytes()[:-4096] + b"\xa5" * 4096)
    assert refused(tmp_path).startswith("it is damaged; ")


def test_a_database_of_a_newer_casona_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    with sqlite3.connect(tmp_path / "casona.db") as future:
        future.execute("UPDATE alembic_version SET version_num = '9999'")
    future.close()
    assert refused(tmp_path) == (
        f"it was made by another Casona (revision 9999, this one knows up to {schema.revisions()[-1]}); "
        "update Casona"
    )


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "casona.db") as other:
        other.execute("CREATE TABLE diary (day TEXT)")
    other.close()
    assert refused(tmp_path) == "it is a database of another program; name another one in `database`"


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "casona.db").mkdir()
    assert refused(tmp_path) == "it cannot be opened: Is a directory"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("casona.db", "database: must look like sqlite:///casona.db or postgresql://…"),
        ("mysql://localhost/a", "database: mysql is not supported; use sqlite:///… or postgresql://…"),
        ("sqlite://", "database: sqlite needs a file, such as sqlite:///casona.db"),
    ],
)
def test_an_address_that_names_no_database_is_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(DatabaseRefused) as told:
        open_database(url, tmp_path)
    assert str(told.value) == message


def test_a_read_only_database_says_what_to_do(tmp_path: Path) -> None:
    opened(tmp_path)
    reader = sqlite3.connect(f"file:{tmp_path / 'casona.db'}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as fault:
        reader.execute("DELETE FROM usage")
    reader.close()
    told = refusal(DBAPIError("", None, fault.value), "casona.db")
    assert (type(told), str(told)) == (
        DatabaseRefused,
        "casona.db: it cannot be written; give this user the right to",
    )


def row(request_id: str, model: str = "m") -> dict[str, object]:
    values = {column.name: 0 if column.name.endswith(("s", "t")) else "x" for column in usage.columns}
    return values | {"request_id": request_id, "model": model, "at": 0.0}


def test_a_full_disk_leaves_what_was_there(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(usage), row("first"))
    with (
        pytest.raises(OutOfSpace, match=r"casona\.db; free some and try again"),
        database.write() as connection,
    ):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        connection.execute(insert(usage), row("second", model="m" * 100_000))
    with database.read() as connection:
        assert connection.execute(select(usage.c.request_id)).scalars().all() == ["first"]


def test_a_writer_that_comes_second_waits(database: Database) -> None:
    def write_second() -> None:
        with database.write() as connection:
            connection.execute(insert(usage), row("second"))

    with database.write() as connection:
        second = threading.Thread(target=write_second)
        second.start()
        connection.execute(insert(usage), row("first"))
    second.join()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM usage")).scalar() == 2


def test_a_writer_that_waits_too_long_is_told(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PRAGMAS", ("PRAGMA busy_timeout = 10",))
    hasty = open_database(URL, tmp_path)
    with database.write(), pytest.raises(DatabaseBusy), hasty.write():
        pass
    hasty.close()


def test_deleted_text_is_gone_from_the_files(database: Database, tmp_path: Path) -> None:
    secret = "a-model-nobody-may-know"
    with database.write() as connection:
        connection.execute(insert(usage), row("first", model=secret))
    with database.write() as connection:
        connection.execute(usage.delete())
    database.checkpoint()
    assert not any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())
