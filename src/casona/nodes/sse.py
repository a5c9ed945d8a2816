"""Server-sent events out of a node's bytes, cut anywhere, also within a character.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import AsyncIterator

from casona.exchange.errors import NodeFailed

MAX_EVENT_BYTES = 16 * 2**20


async def data_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each event, in order. Raises NodeFailed for an event beyond MAX_EVENT_BYTES."""
    tail = b""
    async for piece in pieces:
        tail += piece
        if b"\r" in tail:
            tail = tail.replace(b"\r\n", b"\n")
        *events, tail = tail.split(b"\n\n")
        if len(tail) > MAX_EVENT_BYTES:
            raise NodeFailed("the node sent an event without end")
        for event in events:
            if data := _data(event):
                yield data
    if data := _data(tail):
        yield data


def _data(event: bytes) -> bytes:
    lines = event.removesuffix(b"\r").split(b"\n")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
