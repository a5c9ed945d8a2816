"""Newline-delimited JSON out of a node's bytes, cut anywhere, also within a character."""

from collections.abc import AsyncIterator

from casona.exchange.errors import NodeFailed

MAX_LINE_BYTES = 16 * 2**20


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each line that is not blank, in order. Raises NodeFailed for a line beyond MAX_LINE_BYTES."""
    begun: list[bytes] = []
    begun_bytes = 0
    async for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for line in whole:
            if line := b"".join([*begun, line]).strip():
                yield line
            begun, begun_bytes = [], 0
        begun.append(rest)
        begun_bytes += len(rest)
        if begun_bytes > MAX_LINE_BYTES:
            raise NodeFailed("the node sent a line without end")
    if line := b"".join(begun).strip():
        yield line
