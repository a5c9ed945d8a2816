"""The tables of keys and usage. The migrations make them; a test proves that both say the same.

Times are unix seconds. The library's tables are in `library_tables.py`, on the same `metadata`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()

house = Table(
    "house",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created", Float, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
    Column("models", Text),  # a JSON array; none is all
    Column("max_zone", Text),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("budget", Text),
)

usage = Table(
    "usage",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("key_id", Text, nullable=False),  # no foreign key: the row outlives anything
    Column("model", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("counted", Text, nullable=False),
    Column("first_token_ms", Float, nullable=False),
    Column("total_ms", Float, nullable=False),
    Column("ended", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Index("usage_at", "at"),
)
