"""What `casona usage` asks of the ledger."""

from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import BigInteger, ColumnElement, case, cast, func, select

from casona.records.database import Database
from casona.records.tables import keys, usage

By = Literal["key", "model", "node", "zone", "day"]
DIMENSIONS: tuple[By, ...] = get_args(By)


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """`what` is a key's name, a model, a node, a zone or a day (UTC). `failed` counts errors and refusals."""

    what: str
    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    mean_first_token_ms: float | None


def totals(database: Database, *, by: By, since: float = 0.0) -> list[Total]:
    """Sums over what was recorded from `since` (unix seconds) on: days in order, else the most used first."""
    what = _what(by, database.dialect).label("what")
    tokens = func.sum(usage.c.prompt_tokens + usage.c.completion_tokens)
    wanted = (
        select(
            what,
            func.count().label("requests"),
            func.sum(case((usage.c.ended.in_(("error", "refused")), 1), else_=0)).label("failed"),
            *(cast(func.sum(usage.c[name]), BigInteger).label(name) for name in _SUMMED),
            func.avg(func.nullif(usage.c.first_token_ms, 0)).label("mean_first_token_ms"),
        )
        .select_from(usage.outerjoin(keys, keys.c.id == usage.c.key_id))
        .where(usage.c.at >= since)
        .group_by(what)
        .order_by(*((what,) if by == "day" else (tokens.desc(), what)))
    )
    with database.read() as connection:
        return [
            msgspec.convert(dict(row), Total, strict=False) for row in connection.execute(wanted).mappings()
        ]


_SUMMED = ("prompt_tokens", "completion_tokens", "cached_tokens")


def _what(by: By, dialect: str) -> ColumnElement[Any]:
    match by:
        case "key":
            return func.coalesce(keys.c.name, usage.c.key_id)
        case "day" if dialect == "sqlite":
            return func.date(usage.c.at, "unixepoch")
        case "day":
            return func.to_char(func.timezone("UTC", func.to_timestamp(usage.c.at)), "YYYY-MM-DD")
        case _:
            return usage.c[by]
