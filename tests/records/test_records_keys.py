import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from casona.exchange.errors import BadRequest, Conflict, NotFound
from casona.exchange.zones import Zone
from casona.home import Home
from casona.policy.keys import Keyring
from casona.records.database import Database, open_database
from casona.records.keys import KeyBook, ensure_admin_key


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database("sqlite:///casona.db", tmp_path)
    yield database
    database.close()


@pytest.fixture
def book(database: Database) -> KeyBook:
    return KeyBook(database)


def test_a_secret_has_the_shape_that_is_promised(book: KeyBook) -> None:
    key, secret = book.create("laptop")
    assert re.fullmatch(r"csn-[A-Za-z0-9_-]{43}", secret)
    assert key.prefix == secret[:8]


def test_a_key_is_listed_as_it_was_made(book: KeyBook) -> None:
    key, _ = book.create(" laptop ", models=["llama3:8b", "qwen ", "qwen"], max_zone=Zone.LOCAL)
    assert book.all() == [key]
    assert (key.name, key.models, key.max_zone) == ("laptop", ("llama3:8b", "qwen"), Zone.LOCAL)
    assert (key.admin, key.revoked) == (False, None)


def test_only_the_hash_is_kept(book: KeyBook, database: Database, tmp_path: Path) -> None:
    key, secret = book.create("laptop")
    assert book.active() == [(hashlib.sha256(secret.encode()).digest(), key)]
    database.checkpoint()
    assert not any(secret[8:].encode() in file.read_bytes() for file in tmp_path.iterdir())


def test_a_revoked_key_is_kept_but_opens_nothing(book: KeyBook) -> None:
    key, _ = book.create("laptop")
    revoked = book.revoke("laptop")
    assert revoked.revoked is not None
    assert revoked.revoked >= key.created
    assert (book.all(), book.active()) == ([revoked], [])


def test_a_key_can_be_revoked_by_its_id(book: KeyBook) -> None:
    key, _ = book.create("laptop")
    assert book.revoke(key.id).id == key.id


def test_two_active_keys_never_share_a_name(book: KeyBook) -> None:
    book.create("laptop")
    with pytest.raises(
        Conflict, match="there is a key called laptop already; revoke it or take another name"
    ):
        book.create("laptop")
    book.revoke("laptop")
    book.create("laptop")


def test_an_unknown_key_cannot_be_revoked(book: KeyBook) -> None:
    with pytest.raises(NotFound, match="there is no active key 'laptop'; `casona keys list` shows them"):
        book.revoke("laptop")


def test_the_last_admin_key_stays(book: KeyBook) -> None:
    book.create("first", admin=True)
    with pytest.raises(Conflict, match="first is the last admin key; create another one with --admin first"):
        book.revoke("first")
    book.create("second", admin=True)
    assert book.revoke("first").name == "first"


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "a\nb", "\x1b[31m", "a/b"])
def test_a_name_must_be_one_that_can_be_shown(book: KeyBook, name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        book.create(name)
    assert str(refused.value) == "name: must be 1 to 64 printable characters, without /"
    assert refused.value.param == "name"


@pytest.mark.parametrize("model", ["", " ", "a\x00"])
def test_a_model_must_be_a_name(book: KeyBook, model: str) -> None:
    with pytest.raises(BadRequest, match="models: must be names of models"):
        book.create("laptop", models=[model])


def test_the_first_start_makes_the_admin_key_and_no_other_does(database: Database, tmp_path: Path) -> None:
    home = Home(tmp_path)
    secret = ensure_admin_key(database, home)
    assert secret is not None
    assert home.admin_key() == secret
    assert oct(home.admin_key_path.stat().st_mode & 0o777) == "0o600"
    key = Keyring(KeyBook(database).active).identify(b"Bearer " + secret.encode())
    assert (key.name, key.admin) == ("admin", True)
    assert ensure_admin_key(database, home) is None
    assert home.admin_key() == secret


def test_a_crash_before_the_admin_key_is_stored_is_mended(database: Database, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.admin_key_path.write_text("csn-left-by-a-crash\n")
    assert ensure_admin_key(database, home) == home.admin_key() != "csn-left-by-a-crash"
