"""Vectors for the library from models of the catalog.

The library's process asks for them; here it is seen to that texts go no further than they may. The house
itself is the caller, so its own limit holds; a key with a nearer one is checked before its question or its
document is let in.
"""

import logging
import uuid
from collections.abc import Callable, Sequence

from casona.exchange.errors import CasonaError, PromptTooLong
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
_CUTS = 4

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
        except CasonaError as error:
            tally.failed(error)
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
    except PromptTooLong:
        each = [await _shortened(place, text) for text in texts]
        return Embeddings(
            vectors=[one.vectors[0] for one in each], prompt_tokens=sum(one.prompt_tokens for one in each)
        )
    finally:
        place.state.in_flight -= 1


async def _shortened(place: Place, text: str) -> Embeddings:
    """The vector of as much of a text as the model can read: a passage is found by its beginning then.

    The text itself stays whole in the library, and so does the term index of it.
    """
    for _ in range(_CUTS):
        try:
            return await place.node.embed(place.model, [text])
        except PromptTooLong as fault:
            kept = int(len(text) * fault.context_tokens / fault.prompt_tokens * _ROOM)
            log.warning("%s reads %d of a passage's %d characters", place.model, kept, len(text))
            text = text[:kept]
    return await place.node.embed(place.model, [text])
