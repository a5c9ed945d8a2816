"""The life of one chat request. Read this file first.

A request is read by its dialect, admitted, given an order of places to try, and run in one of
two lanes. *Relay*: the node speaks the client's dialect, so the bytes pass as they are, with
only the model's name replaced and usage read as it goes by. *Translate*: the request becomes
neutral words and the node's events become the client's dialect. Both lanes share everything
before and after: admission, routing, cancelling, records.

Before the first content any failure may be tried on another place; after it, the error travels
in the stream. Who leaves early is noticed everywhere by cancellation, which closes what is open.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from casona import lanes
from casona.dialects import openai_embeddings
from casona.dialects.base import Asked, Dialect
from casona.exchange.errors import BadRequest, CasonaError, NodeFailed, NodeRefused
from casona.exchange.events import Event
from casona.exchange.request import ChatRequest
from casona.exchange.zones import Zone
from casona.lanes import Pieces
from casona.nodes.base import Ability
from casona.policy.zones import strictest
from casona.routing import choose
from casona.routing.catalog import Catalog
from casona.routing.place import Place
from casona.tally import Call, Record, Tally

COMMIT_S = 10.0
"""After this long without content a streamed answer begins with a ping, and one follows as often."""

TOO_MANY_REQUESTS = 429

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Answer:
    """What goes back: whole bytes, or a stream whose closing cancels the work."""

    content_type: bytes
    body: bytes | Pieces
    tally: Tally


@dataclass(slots=True)
class Begun:
    """A stream whose first content is here."""

    first: bytes
    rest: Pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where every chat request passes, whichever door it came through."""

    catalog: Catalog
    record: Record
    max_zone: Zone

    async def chat(self, call: Call, dialect: Dialect) -> Answer:
        """Read it, admit it, place it, run it, note it. Raises CasonaError before the first byte."""
        tally = Tally(call, self.record)
        try:
            asked = dialect.read(call.raw)
            tally.model, tally.prompt_characters = asked.model, asked.prompt_characters
            places = await self.admit(call, asked.model, "chat")
            _check_links(asked, places)
            if asked.stream:
                return await self._stream(dialect, asked, places, tally)
            return await self._whole(dialect, asked, places, tally)
        except BaseException as fault:
            tally.stopped(fault)
            tally.settle()
            raise

    async def embed(self, call: Call) -> Answer:
        """One embeddings request. Raises CasonaError."""
        tally = Tally(call, self.record)
        try:
            asked = openai_embeddings.read(call.raw)
            tally.model = asked.model
            places = await self.admit(call, asked.model, "embed")
            body = await self._first(places, tally, lambda place: lanes.embed(asked, place, tally))
        except BaseException as fault:
            tally.stopped(fault)
            raise
        finally:
            tally.settle()
        return Answer(b"application/json", body, tally)

    async def events(self, call: Call, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Run a request of the house's own making, such as a question about documents."""
        tally = Tally(call, self.record, model=request.model)

        async def run(place: Place) -> tuple[Event, AsyncGenerator[Event, None]]:
            stream = lanes.node_events(replace(request, model=place.model), place, tally)
            return await anext(stream), stream

        try:
            places = await self.admit(call, request.model, "chat")
            first, rest = await self._first(places, tally, run)
            async with aclosing(rest):
                yield first
                async for event in rest:
                    if tally.complete:
                        tally.settle()
                    yield event
        except BaseException as fault:
            tally.stopped(fault)
            raise
        finally:
            tally.settle()

    async def admit(self, call: Call, model: str, ability: Ability) -> Sequence[Place]:
        """The places this caller may use for this model, best first. Raises CasonaError."""
        call.key.require_model(model)
        places = self.catalog.known(model) or await self.catalog.places(model)
        near = choose.within(places, strictest(self.max_zone, call.key.max_zone), model=model)
        fit = choose.able(near, ability, model=model)
        if len(fit) == 1:
            return fit
        return choose.order(fit, now_s=asyncio.get_running_loop().time())

    async def _first(self, places: Sequence[Place], tally: Tally, run: Callable[[Place], Awaitable[T]]) -> T:
        """What the first place gives that does not fail. Raises the last one's NodeFailed."""
        for place in places:
            tally.place = place
            try:
                found = await run(place)
            except NodeFailed as fault:
                if _is_the_callers(fault):
                    raise
                _note_failure(place, fault)
                if place is places[-1]:
                    raise
            else:
                place.state.answered()
                tally.first_s = tally.first_s or time.perf_counter()
                return found
        raise AssertionError("admit gives at least one place")

    # --- whole answers

    async def _whole(self, dialect: Dialect, asked: Asked, places: Sequence[Place], tally: Tally) -> Answer:
        async def run(place: Place) -> bytes:
            relayed = dialect.name in place.node.relays_whole
            lane = lanes.relay_whole if relayed else lanes.translate_whole
            return await lane(dialect, asked, place, tally)

        body = await self._first(places, tally, run)
        tally.settle()
        return Answer(b"application/json", body, tally)

    # --- streams

    async def _stream(self, dialect: Dialect, asked: Asked, places: Sequence[Place], tally: Tally) -> Answer:
        async def run(place: Place) -> Begun:
            relayed = dialect.name in place.node.relays
            lane = lanes.relay_stream if relayed else lanes.translate_stream
            stream = lane(dialect, asked, place, tally)
            return Begun(await anext(stream), stream)

        opening = asyncio.ensure_future(self._first(places, tally, run))
        try:
            await asyncio.wait({opening}, timeout=COMMIT_S)
        except asyncio.CancelledError:
            await _abandon(opening)
            raise
        if opening.done():
            opening.result()  # an error before the first byte is still a status of its own
        pieces = _pour(dialect, opening, tally)
        await anext(pieces)
        return Answer(dialect.stream_type, pieces, tally)


async def _pour(dialect: Dialect, opening: "asyncio.Future[Begun]", tally: Tally) -> Pieces:
    """The stream as the client gets it: pings while it waits, an error of ours when it breaks.

    Its first piece is empty: a generator that never began would not notice that it is closed.
    """
    try:
        yield b""
        while not opening.done():
            yield dialect.ping
            await asyncio.wait({opening}, timeout=COMMIT_S)
        begun = opening.result()
        async with aclosing(begun.rest):
            if tally.complete:
                tally.settle()
            yield begun.first
            async for piece in begun.rest:
                if tally.complete:
                    tally.settle()
                yield piece
    except CasonaError as error:
        if tally.place is not None and isinstance(error, NodeFailed):
            _note_failure(tally.place, error)
        tally.stopped(error)
        tally.settle()
        yield dialect.error_event(error)
    except BaseException as fault:
        tally.stopped(fault)
        await _abandon(opening)
        raise
    finally:
        tally.settle()


async def _abandon(opening: "asyncio.Future[Begun]") -> None:
    """Stop a stream that nobody waits for, and see it closed."""
    opening.cancel()
    if opening.done() and (opening.cancelled() or opening.exception()):
        return
    with suppress(asyncio.CancelledError, CasonaError):
        await (await opening).rest.aclose()


def _check_links(asked: Asked, places: Sequence[Place]) -> None:
    """Only a cloud may fetch what a body names: our machines would reach into our own network."""
    if (link := asked.link) and any(place.zone is not Zone.CLOUD for place in places):
        raise BadRequest(
            f"{link}: addresses are not fetched here; send the content itself as a data: URL", param=link
        )


def _is_the_callers(fault: NodeFailed) -> bool:
    """Whether the node refused the request itself, so that another node would as well."""
    return isinstance(fault, NodeRefused) and fault.status != TOO_MANY_REQUESTS


def _note_failure(place: Place, fault: NodeFailed) -> None:
    log.warning("node %s failed with %s: %s", place.state.name, place.model, fault.fact)
    if not isinstance(fault, NodeRefused):
        place.state.failed(fault.fact, asyncio.get_running_loop().time())
