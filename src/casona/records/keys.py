"""The keys of the house as they are stored: by hash, never by what they are.

A secret is 256 random bits, so one SHA-256 is enough: the slow, salted hashes that passwords need defend
against guessing, and nobody guesses 2^256. It must be fast, for every request pays it.
"""

import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Sequence

from sqlalchemy import Connection, Row, insert, select, update

from casona.exchange.errors import BadRequest, Conflict, NotFound
from casona.exchange.keys import Key
from casona.exchange.zones import Zone
from casona.home import Home, write_private
from casona.records.database import Database
from casona.records.tables import keys

PREFIX = "csn-"
SHOWN_CHARS = len(PREFIX) + 4
MAX_NAME_CHARS = 64
ADMIN_NAME = "admin"


class KeyBook:
    """Creates, lists and revokes keys. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, *, models: Sequence[str] = (), max_zone: Zone | None = None, admin: bool = False
    ) -> tuple[Key, str]:
        """Make a key; the second value is the secret, which cannot be had again.

        Raises BadRequest for a name or model that cannot be one, Conflict when an active key has the name.
        """
        secret = new_secret()
        return self._add(secret, _drawn(name, models, max_zone=max_zone, admin=admin, secret=secret)), secret

    def all(self) -> list[Key]:
        """All keys ever made, oldest first, revoked ones too."""
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(select(keys).order_by(keys.c.created))]

    def active(self) -> list[tuple[bytes, Key]]:
        """The hash of each key that opens the house, and the key."""
        with self._database.read() as connection:
            rows = connection.execute(select(keys).where(keys.c.revoked.is_(None)))
            return [(row.hash, _key(row)) for row in rows]

    def revoke(self, name_or_id: str) -> Key:
        """End a key for good. Raises NotFound; Conflict for the last key that may administer the house."""
        with self._database.write() as connection:
            key = _find(connection, name_or_id)
            if key.admin and _count_admins(connection) == 1:
                raise Conflict(f"{key.name} is the last admin key; create another one with --admin first")
            found = connection.execute(
                update(keys).where(keys.c.id == key.id).values(revoked=time.time()).returning(*keys.c)
            )
            return _key(found.one())

    def has_admin(self) -> bool:
        with self._database.read() as connection:
            return _count_admins(connection) > 0

    def add_admin(self, secret: str) -> Key:
        """Store a secret made elsewhere as an admin key."""
        return self._add(secret, _drawn(ADMIN_NAME, (), max_zone=None, admin=True, secret=secret))

    def _add(self, secret: str, key: Key) -> Key:
        with self._database.write() as connection:
            same = select(keys.c.id).where(keys.c.name == key.name, keys.c.revoked.is_(None))
            if connection.execute(same).first():
                raise Conflict(f"there is a key called {key.name} already; revoke it or take another name")
            row = {
                "id": key.id,
                "name": key.name,
                "hash": hashed(secret),
                "prefix": key.prefix,
                "admin": key.admin,
                "created": key.created,
                "models": json.dumps(key.models) if key.models else None,
                "max_zone": key.max_zone,
            }
            connection.execute(insert(keys), row)
        return key


def ensure_admin_key(database: Database, home: Home) -> str | None:
    """Make the admin key of a house that has none, and write it to `admin.key`.

    Returns the new key, to be shown once, or None. The file comes first: a crash between the two leaves a
    file that opens nothing and is replaced at the next start, never a key that nobody knows.
    """
    book = KeyBook(database)
    if book.has_admin():
        return None
    secret = new_secret()
    write_private(home.admin_key_path, secret + "\n")
    book.add_admin(secret)
    return secret


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _drawn(name: str, models: Sequence[str], *, max_zone: Zone | None, admin: bool, secret: str) -> Key:
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable() or "/" in name:
        raise BadRequest(f"name: must be 1 to {MAX_NAME_CHARS} printable characters, without /", param="name")
    if any(not model.strip() or not model.isprintable() for model in models):
        raise BadRequest("models: must be names of models", param="models")
    return Key(
        id=f"key_{uuid.uuid4().hex}",
        name=name.strip(),
        prefix=secret[:SHOWN_CHARS],
        created=time.time(),
        admin=admin,
        models=tuple(dict.fromkeys(model.strip() for model in models)),
        max_zone=max_zone,
    )


def _find(connection: Connection, name_or_id: str) -> Key:
    same = (keys.c.name == name_or_id) | (keys.c.id == name_or_id)
    row = connection.execute(select(keys).where(same, keys.c.revoked.is_(None))).first()
    if row is None:
        raise NotFound(f"there is no active key {name_or_id!r}; `casona keys list` shows them")
    return _key(row)


def _count_admins(connection: Connection) -> int:
    active = select(keys.c.id).where(keys.c.admin, keys.c.revoked.is_(None))
    return len(connection.execute(active).all())


def _key(row: Row[tuple[object, ...]]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        created=row.created,
        admin=row.admin,
        revoked=row.revoked,
        models=tuple(json.loads(row.models)) if row.models else (),
        max_zone=Zone(row.max_zone) if row.max_zone else None,
    )
