"""Server-sent events out of bytes, as the HTML standard has them."""

from collections.abc import AsyncIterator, Sequence

import pytest
from tests.scripted_node import bytewise

from casona.exchange.errors import NodeFailed
from casona.nodes import sse


async def data_of(pieces: Sequence[bytes]) -> list[bytes]:
    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [data async for data in sse.data_of(sent())]


EVENTS: dict[str, tuple[bytes, list[bytes]]] = {
    "two events": (b"data: one\n\ndata: two\n\n", [b"one", b"two"]),
    "several lines of data": (b"data: one\ndata: two\n\n", [b"one\ntwo"]),
    "without a space": (b"data:one\n\n", [b"one"]),
    "with two spaces": (b"data:  one\n\n", [b" one"]),
    "other fields": (b"event: x\nid: 3\ndata: one\nretry: 5\n\n", [b"one"]),
    "comments": (b": ping\n\ndata: one\n\n: ping\n\n", [b"one"]),
    "many blank lines": (b"\n\n\ndata: one\n\n\n\n", [b"one"]),
    "no blank line at the end": (b"data: one\n\ndata: two", [b"one", b"two"]),
    "half a line end at the end": (b"data: one\r", [b"one"]),
    "UTF-8": ("data: ñ🏠\n\n".encode(), ["ñ🏠".encode()]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("stream", "data"), EVENTS.values(), ids=EVENTS.keys())
async def test_events_are_the_same_however_they_are_cut(stream: bytes, data: list[bytes]) -> None:
    for sent in (stream, stream.replace(b"\n", b"\r\n")):
        assert await data_of([sent]) == data
        assert await data_of(bytewise(sent)) == data


async def test_an_event_without_end_is_a_failure() -> None:
    with pytest.raises(NodeFailed, match=r"^the node sent an event without end$"):
        await data_of([b"x" * 2**20] * 18)
