"""Postgres, for several gateways that share their records."""

from sqlalchemy import URL, Engine, create_engine

from casona.records.errors import DatabaseRefused


def engine(url: URL) -> tuple[Engine, str]:
    """An engine for the server, and its address without the password. Raises DatabaseRefused."""
    try:
        made = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except ModuleNotFoundError as fault:
        raise DatabaseRefused("database: Postgres needs its driver; pip install 'psycopg[binary]'") from fault
    return made, url.render_as_string(hide_password=True)
