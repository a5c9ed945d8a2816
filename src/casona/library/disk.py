"""A full disk is not a fault of the program: say so, and say what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from casona.exchange.errors import OutOfSpace

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def room() -> Iterator[None]:
    """Raises OutOfSpace in place of the operating system's ways to say it."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in FULL:
            raise
        raise OutOfSpace("no space left for the library; free some and try again") from fault
