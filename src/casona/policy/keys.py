"""Who is calling: the key in a request's headers, looked up among those of the house."""

import binascii
import hashlib
import hmac
import secrets
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterable

from casona.exchange.errors import Unauthorized
from casona.exchange.keys import Key

__all__ = ["Key", "Keyring"]

MISSING = "no API key was given: send it as `Authorization: Bearer csn-…` or `x-api-key`"
UNKNOWN = "this API key is not known here, or was revoked"

Hashes = Iterable[tuple[bytes, Key]]


class Keyring:
    """All keys that open the house, in memory; a request costs one SHA-256 and one look-up.

    `load` gives the SHA-256 of each active key. Keys are found by half of their hash and compared whole
    in constant time, so how long an answer takes tells nothing about the keys that exist.
    """

    def __init__(self, load: Callable[[], Hashes]) -> None:
        self._load = load
        self._lent: dict[bytes, tuple[bytes, Key]] = {}
        self._keys: dict[bytes, tuple[bytes, Key]] = {}
        self._refreshing = threading.Lock()
        self.refresh()

    def refresh(self) -> None:
        """Take the keys as they are stored now: call it after one was created or revoked."""
        with self._refreshing:
            self._keys = {_half(hashed): (hashed, key) for hashed, key in self._load()} | self._lent

    def lend(self) -> str:
        """A new admin key that is stored nowhere and ends with this process."""
        secret = "csn-" + secrets.token_urlsafe(32)
        hashed = hashlib.sha256(secret.encode()).digest()
        key = Key(id="key_this_process", name="this process", prefix="", created=time.time(), admin=True)
        self._lent[_half(hashed)] = (hashed, key)
        self.refresh()
        return secret

    def identify(self, authorization: bytes | None, x_api_key: bytes | None = None) -> Key:
        """The key of a request, from the values of its two headers; either may hold it.

        `authorization` is `Bearer KEY` or HTTP Basic with the key as the password. Raises Unauthorized.
        """
        if authorization is not None:
            if authorization[:7] == b"Bearer ":
                found = self._find(authorization[7:])
            else:
                found = self._find(_secret(authorization))
            if found is not None:
                return found
        if x_api_key is not None and (found := self._find(x_api_key)) is not None:
            return found
        raise Unauthorized(UNKNOWN if authorization or x_api_key else MISSING)

    def _find(self, secret: bytes) -> Key | None:
        hashed = hashlib.sha256(secret.strip()).digest()
        found = self._keys.get(hashed[:16])
        if found is not None and hmac.compare_digest(found[0], hashed):
            return found[1]
        return None


def _half(hashed: bytes) -> bytes:
    return hashed[:16]


def _secret(authorization: bytes) -> bytes:
    """The secret in an Authorization header of any spelling, b"" when there is none. Source: RFC 7617."""
    scheme, _, rest = authorization.strip().partition(b" ")
    match scheme.lower():
        case b"bearer":
            return rest
        case b"basic":
            try:
                return b64decode(rest.strip()).partition(b":")[2]
            except binascii.Error:
                return b""
        case _:
            return b""
