"""The two lanes from the desk to a node and back; `serve.py` picks one.

Each notes in the tally what it sees, counts itself among the place's running requests, and closes
what it opened, however it ends. All raise CasonaError.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from casona.dialects import openai_embeddings
from casona.dialects.base import Asked, Dialect
from casona.dialects.openai_embeddings import AskedEmbeddings
from casona.exchange.errors import BadRequest, NodeFailed
from casona.exchange.events import Event, Started, Usage
from casona.exchange.request import ChatRequest
from casona.nodes.base import Reply
from casona.nodes.openai import failure
from casona.nodes.openai_relay import StreamWatch, usage_of
from casona.routing.place import Place
from casona.tally import CHARACTERS_PER_TOKEN, Tally

Pieces = AsyncGenerator[bytes, None]


async def relay_whole(dialect: Dialect, asked: Asked, place: Place, tally: Tally) -> bytes:
    place.state.in_flight += 1
    try:
        reply = await place.node.relay(place.model, dialect.path, asked.relayed(place.model))
        body = await _read(reply)
    finally:
        place.state.in_flight -= 1
    if reply.status != 200:
        raise failure(place.state.name, reply.status, body, headers=reply.headers, dialect=dialect.name)
    tally.usage = usage_of(body)
    if tally.usage is None:
        tally.pieces = max(1, len(body) // CHARACTERS_PER_TOKEN)
    return body


async def _read(reply: Reply) -> bytes:
    try:
        return await reply.read()
    finally:
        reply.close()


async def embed(asked: AskedEmbeddings, place: Place, tally: Tally) -> bytes:
    node, name = place.node, openai_embeddings.NAME
    place.state.in_flight += 1
    try:
        if name in node.relays_whole:
            reply = await node.relay(place.model, openai_embeddings.PATH, asked.relayed(place.model))
            body = await _read(reply)
            if reply.status != 200:
                raise failure(place.state.name, reply.status, body, headers=reply.headers, dialect=name)
            tally.usage = usage_of(body)
            return body
        if asked.texts is None:
            raise BadRequest(
                f"input: node {place.state.name!r} takes texts, not tokens; send the texts", param="input"
            )
        found = await node.embed(place.model, asked.texts)
        tally.usage = Usage(prompt_tokens=found.prompt_tokens)
        return asked.answer(found.vectors, prompt_tokens=found.prompt_tokens)
    finally:
        place.state.in_flight -= 1


async def node_events(request: ChatRequest, place: Place, tally: Tally) -> AsyncGenerator[Event, None]:
    """A node's events from the first content on, noted as they pass."""
    place.state.in_flight += 1
    try:
        async with aclosing(place.node.chat(request)) as events:
            async for event in events:
                tally.event(event)
                if not isinstance(event, Started):
                    yield event
    finally:
        place.state.in_flight -= 1


async def translate_whole(dialect: Dialect, asked: Asked, place: Place, tally: Tally) -> bytes:
    request, warnings = asked.translated(place.model)
    tally.warn(warnings)
    whole = dialect.whole(asked, answer_id=tally.answer_id, created=int(time.time()))
    async with aclosing(node_events(request, place, tally)) as events:
        async for event in events:
            whole.event(event)
    return whole.encode()


async def relay_stream(dialect: Dialect, asked: Asked, place: Place, tally: Tally) -> Pieces:
    watch = StreamWatch(wants_usage=asked.wants_usage)
    reply: Reply | None = None
    place.state.in_flight += 1
    try:
        reply = await place.node.relay(place.model, dialect.path, asked.relayed(place.model))
        if reply.status != 200:
            body = await reply.read()
            raise failure(place.state.name, reply.status, body, headers=reply.headers, dialect=dialect.name)
        tally.queued_s = reply.queued_s
        async for piece in reply:
            passing = watch.feed(piece)
            tally.prompt_tokens = watch.prompt_tokens
            if passing:
                if watch.failed:  # the node's own words pass; the records must know as well
                    tally.stopped(NodeFailed(watch.failed))
                tally.watched(watch.usage, pieces=watch.deltas, complete=watch.done or bool(watch.failed))
                yield passing
        owed = watch.close()
        if watch.failed:
            tally.stopped(NodeFailed(watch.failed))
        tally.watched(watch.usage, pieces=watch.deltas, complete=True)
        if owed:
            yield owed
    finally:
        place.state.in_flight -= 1
        if reply is not None:
            reply.close()


async def translate_stream(dialect: Dialect, asked: Asked, place: Place, tally: Tally) -> Pieces:
    request, warnings = asked.translated(place.model)
    tally.warn(warnings)
    encoder = dialect.stream(asked, answer_id=tally.answer_id, created=int(time.time()))
    async with aclosing(node_events(request, place, tally)) as events:
        async for event in events:
            for piece in encoder.event(event):
                yield piece
