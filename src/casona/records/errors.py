"""What can go wrong with the database, in words for the person who runs the house."""

import errno

from sqlalchemy.exc import DBAPIError

from casona.exchange.errors import CasonaError, OutOfSpace


class DatabaseRefused(CasonaError):
    """The database cannot be used as it is; nothing in it was changed."""


class DatabaseBusy(CasonaError):
    """Another process has been writing for too long; the same call may succeed later."""

    status = 503


NO_DATABASE = "it is not a SQLite database; move it away to start with an empty one"
DAMAGED = "it is damaged; restore it from a backup, or move it away to start with an empty one"

# What SQLite says (https://www.sqlite.org/rescode.html) and what to do about it.
_SAYINGS = {
    "file is not a database": NO_DATABASE,
    "malformed": DAMAGED,
    "disk i/o error": "the disk fails to read or write it; check the disk",
    "readonly": "it cannot be written; give this user the right to",
    "unable to open": "it cannot be opened; check the path and its permissions",
}


def refusal(fault: DBAPIError, where: str) -> CasonaError | None:
    """The error for a person, None when the fault is the program's own."""
    said = str(fault.orig).lower()
    if "disk is full" in said or getattr(fault.orig, "errno", None) == errno.ENOSPC:
        return OutOfSpace(f"no space left for {where}; free some and try again")
    if "locked" in said:
        return DatabaseBusy(f"{where} is being written by another process; try again")
    for saying, advice in _SAYINGS.items():
        if saying in said:
            return DatabaseRefused(f"{where}: {advice}")
    if "connect" in said:
        return DatabaseRefused(f"{where}: it cannot be reached; is the database server running?")
    return None
