"""The routes of administration: keys and usage. For admin keys only.

Imported late: FastAPI costs memory and start-up time that chatting does not need.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from casona.exchange.errors import Forbidden
from casona.exchange.keys import Key
from casona.exchange.zones import Zone
from casona.policy.keys import Keyring
from casona.records.database import Database
from casona.records.keys import KeyBook
from casona.records.totals import By, Total, totals
from casona.records.usage import Ledger

Caller = Callable[[Request], Key]
"""Who sent this request. Raises Unauthorized."""


class Wanted(BaseModel):
    """A key to be made. No models are all models; without `max_zone` the house's limit holds."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    models: list[str] = []
    max_zone: Zone | None = None
    admin: bool = False


class Shown(BaseModel):
    """A key as it may be shown: `prefix` is the start of its secret. Times are unix seconds."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    prefix: str
    admin: bool
    models: list[str]
    max_zone: Zone | None
    created: float
    revoked: float | None


class Made(Shown):
    """The one time that a key is shown whole."""

    key: str


class Keys(BaseModel):
    keys: list[Shown]


class Sum(BaseModel):
    """`what` is a key's name, a model, a node, a zone or a day (UTC). `failed` counts errors and refusals."""

    model_config = ConfigDict(from_attributes=True)

    what: str
    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    mean_first_token_ms: float | None


class Usage(BaseModel):
    totals: list[Sum]


def admin_router(database: Database, keyring: Keyring, ledger: Ledger, caller: Caller) -> APIRouter:
    """`/admin/keys` and `/admin/usage`. Handlers run in threads: they wait for the database."""

    def admin(request: Request) -> None:
        if not caller(request).admin:
            raise Forbidden("this needs an admin key")

    router = APIRouter(prefix="/admin", dependencies=[Depends(admin)], tags=["admin"])
    _add_keys(router, KeyBook(database), keyring)
    _add_usage(router, database, ledger)
    return router


def _add_keys(router: APIRouter, book: KeyBook, keyring: Keyring) -> None:
    @router.post("/keys", status_code=201)
    def create_key(wanted: Wanted) -> Made:
        """Make a key. The answer is the only place where it is shown whole."""
        key, secret = book.create(
            wanted.name, models=wanted.models, max_zone=wanted.max_zone, admin=wanted.admin
        )
        keyring.refresh()
        return Made(**Shown.model_validate(key).model_dump(), key=secret)

    @router.get("/keys")
    def list_keys() -> Keys:
        """All keys ever made, oldest first, revoked ones too."""
        return Keys(keys=[Shown.model_validate(key) for key in book.all()])

    @router.delete("/keys/{name_or_id}")
    def revoke_key(name_or_id: str) -> Shown:
        """End a key for good; requests with it are refused from now on."""
        key = book.revoke(name_or_id)
        keyring.refresh()
        return Shown.model_validate(key)


def _add_usage(router: APIRouter, database: Database, ledger: Ledger) -> None:
    @router.get("/usage")
    def usage(by: By = "model", since: Annotated[float, Query(ge=0)] = 0.0) -> Usage:
        """Requests and tokens since a moment (unix seconds), added up by one dimension."""
        ledger.settle()
        found: list[Total] = totals(database, by=by, since=since)
        return Usage(totals=[Sum.model_validate(total) for total in found])
