"""Vectors for the library from models of the catalog.

The library's process asks for them; here it is seen to that texts go no further than they may. The house
itself is the caller, so its own limit holds; a key with a nearer one is checked before its question or its
document is let in.
"""

import logging
import re
import uuid
from collections.abc import Callable, Sequence

from casona.exchange.errors import BadRequest, CasonaError, NodeRefused, PromptTooLong
from casona.exchange.events import Usage
from casona.exchange.keys import Key
from casona.library.client import LibraryClient, Vectors
from casona.nodes.base import Embeddings
from casona.policy.zones import strictest
from casona.routing import choose
from casona.routing.place import Place
from casona.serve import Desk
from casona.tally import Call, Tally

BUILTIN = "builtin"
LIBRARY = Key(id="library", name="library", prefix="", created=0.0, admin=True)
"""Who asks, in the records of use."""

_ROOM = 0.9
_LESS = 0.7
_CUTS = 6
_TOO_LONG_STATUSES = (400, 413)
_TOO_LONG_WORDS = re.compile(r"\b(context|tokens?|length|long|large)\b", re.I)

log = logging.getLogger(__name__)

DigestOf = Callable[[str, str], str]
"""(node, model) to the digest of the model's weights, "" when unknown."""


class Embedding:
    """`configured` is the embedder of collections yet to begin."""

    def __init__(self, desk: Desk, digest_of: DigestOf, *, configured: str) -> None:
        self._desk = desk
        self._digest_of = digest_of
        self._configured = configured

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """One vector per text. Raises CasonaError, Forbidden when the model is too far away."""
        call = Call(f"req_{uuid.uuid4().hex}", LIBRARY, "library.embed", b"")
        tally = Tally(call, self._desk.record, model=model)
        try:
            place = (await self._desk.admit(call, model, "embed"))[0]
            tally.place = place
            found = await _embedded(place, texts)
        except BaseException as fault:
            tally.stopped(fault)
            raise
        else:
            tally.usage = Usage(prompt_tokens=found.prompt_tokens)
        finally:
            tally.settle()
        return Vectors(vectors=found.vectors, digest=self._digest_of(place.state.name, place.model))

    async def require_near(self, library: LibraryClient, key: Key, collection: str | None) -> None:
        """Raises Forbidden unless the key's texts may travel to the embedder of the collection, or of all."""
        limit = strictest(self._desk.max_zone, key.max_zone)
        if limit is self._desk.max_zone:
            return
        names = {one.embedder for one in await library.collections() if collection in {None, one.name}}
        if collection is not None and not names:
            names = {self._configured}
        for name in names - {BUILTIN}:
            choose.within(await self._desk.catalog.places(name), limit, model=name)


async def _embedded(place: Place, texts: Sequence[str]) -> Embeddings:
    place.state.in_flight += 1
    try:
        return await place.node.embed(place.model, texts)
    except CasonaError as fault:
        if not _is_too_long(fault):
            raise
        each = [await _shortened(place, text) for text in texts]
        return Embeddings(
            vectors=[one.vectors[0] for one in each], prompt_tokens=sum(one.prompt_tokens for one in each)
        )
    finally:
        place.state.in_flight -= 1


async def _shortened(place: Place, text: str) -> Embeddings:
    """The vector of as much of a text as the model can read: the passage is found by its beginning then.

    The text itself stays whole in the library, and so does its part in the term index.
    """
    for _ in range(_CUTS):
        try:
            return await place.node.embed(place.model, [text])
        except CasonaError as fault:
            if not _is_too_long(fault):
                raise
            kept = int(len(text) * _share(fault))
            log.info("%s reads no more than %d of a passage's %d characters", place.model, kept, len(text))
            text = text[:kept]
    return await place.node.embed(place.model, [text])


def _is_too_long(fault: CasonaError) -> bool:
    """Whether a node says that a text is too long for it. Only some say how long it may be."""
    if isinstance(fault, PromptTooLong):
        return True
    if isinstance(fault, BadRequest):
        return fault.param == "input"
    refused = isinstance(fault, NodeRefused) and fault.status in _TOO_LONG_STATUSES
    return refused and _TOO_LONG_WORDS.search(str(fault)) is not None


def _share(fault: CasonaError) -> float:
    """How much of the text to try next."""
    if isinstance(fault, PromptTooLong):
        return fault.context_tokens / fault.prompt_tokens * _ROOM
    return _LESS
