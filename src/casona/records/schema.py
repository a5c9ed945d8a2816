"""Bring a database to the revision this Casona knows, or refuse it.

A migration is a file `migrations/versions/NNNN_what.py` whose `revision` is its number. Numbers are read
from the file names, so Alembic, which takes longer to import than all of this to run, is imported only
when there is something to do.
"""

import logging
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from casona.records.errors import DatabaseRefused

MIGRATIONS = Path(__file__).parent / "migrations"


@cache
def revisions() -> tuple[str, ...]:
    """The known revisions, oldest first."""
    return tuple(
        sorted(file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))
    )


def is_current(connection: Connection) -> bool:
    """Whether nothing is to be done. Raises DatabaseRefused for a database that is not ours to change."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise DatabaseRefused("it is a database of another program; name another one in `database`")
        return False
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and found not in revisions():
        raise DatabaseRefused(
            f"it was made by another Casona (revision {found}, this one knows up to {revisions()[-1]}); "
            "update Casona"
        )
    return bool(found == revisions()[-1])


def migrate(connection: Connection) -> None:
    """Run what is missing inside the connection's transaction: all of it or nothing."""
    from alembic.command import upgrade
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)  # its steps are no news to the owner of a house
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    upgrade(config, "head")
