import base64
import hashlib

import pytest

from casona.exchange.errors import Forbidden, Unauthorized
from casona.exchange.keys import Key
from casona.policy.keys import Keyring

SECRET = b"csn-" + b"a" * 43


def key(name: str, **more: object) -> Key:
    return Key(id=f"key_{name}", name=name, prefix="csn-aaaa", created=0.0, **more)  # type: ignore[arg-type]


LAPTOP = key("laptop")


def ring() -> Keyring:
    return Keyring(lambda: [(hashlib.sha256(SECRET).digest(), LAPTOP)])


def basic(user: bytes, password: bytes) -> bytes:
    return b"Basic " + base64.b64encode(user + b":" + password)


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        (b"Bearer " + SECRET, None),
        (b"bearer  " + SECRET + b" ", None),
        (None, SECRET),
        (basic(b"", SECRET), None),
        (basic(b"anyone", SECRET), None),
        (b"Bearer not-the-key", SECRET),
        (b"Bearer " + SECRET, b"not-the-key"),
    ],
)
def test_a_key_is_known_however_it_is_sent(authorization: bytes | None, x_api_key: bytes | None) -> None:
    assert ring().identify(authorization, x_api_key) is LAPTOP


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        (b"Bearer " + SECRET[:-1], None),
        (b"Bearer " + SECRET + b"a", None),
        (b"Bearer ", b""),
        (b"Bearer", None),
        (SECRET, None),
        (b"Digest " + SECRET, None),
        (b"Basic \xff\xff", None),
        (b"Basic " + SECRET, None),
        (basic(SECRET, b""), None),
        (b"Bearer " + b"\x00" * 10_000, None),
        (None, b"csn-"),
    ],
)
def test_any_other_key_is_unknown(authorization: bytes | None, x_api_key: bytes | None) -> None:
    with pytest.raises(Unauthorized, match="this API key is not known here, or was revoked"):
        ring().identify(authorization, x_api_key)


def test_no_key_is_told_how_to_send_one() -> None:
    with pytest.raises(Unauthorized, match="no API key was given: send it as `Authorization: Bearer csn-…`"):
        ring().identify(None)


def test_a_revoked_key_is_unknown_after_a_refresh() -> None:
    stored = [(hashlib.sha256(SECRET).digest(), LAPTOP)]
    keys = Keyring(lambda: stored)
    assert keys.identify(None, SECRET) is LAPTOP
    stored.clear()
    keys.refresh()
    with pytest.raises(Unauthorized):
        keys.identify(None, SECRET)


def test_a_lent_key_is_an_admin_until_the_process_ends() -> None:
    keys = ring()
    lent = keys.lend().encode()
    keys.refresh()
    assert keys.identify(None, lent).admin
    assert keys.identify(None, SECRET) is LAPTOP
    with pytest.raises(Unauthorized):
        ring().identify(None, lent)


@pytest.mark.parametrize(
    ("allowed", "asked", "is_allowed"),
    [
        ((), "anything", True),
        (("llama3:8b",), "llama3:8b", True),
        (("llama3:8b",), "llama3:70b", False),
        (("llama3",), "llama3:latest", True),
        (("llama3:latest",), "llama3", True),
        (("llama3",), "llama3:8b", False),
        (("llama3",), "llama3:latest@engine", True),
        (("llama3:8b",), "llama3:8b@engine", True),
        (("llama3:8b@engine",), "llama3:8b@engine", True),
        (("llama3:8b@engine",), "llama3:8b@cloud", False),
        (("llama3:8b@engine",), "llama3:8b", False),
        (("llama3@engine",), "llama3:latest@engine", True),
        (("a", "b"), "b", True),
        (("a",), "", False),
        (("a",), "@", False),
        (("engine",), "@engine", False),
    ],
)
def test_a_key_allows_the_models_it_names(allowed: tuple[str, ...], asked: str, is_allowed: bool) -> None:
    assert key("limited", models=allowed).allows_model(asked) is is_allowed


def test_a_forbidden_model_is_answered_with_the_allowed_ones() -> None:
    with pytest.raises(Forbidden) as refused:
        key("limited", models=("a", "b")).require_model("c")
    assert str(refused.value) == "this key may not use the model 'c', only a, b"
    assert refused.value.param == "model"
