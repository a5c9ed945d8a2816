"""The life of one question about documents.

Passages are found in the library; when they can't hold the answer, that is said without asking
a model. Else a model answers from them, its citations are checked as they come, and where there
is no model the best sentences are quoted instead.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from casona.exchange.errors import BadRequest
from casona.exchange.events import Text
from casona.library import answer, extracts
from casona.library.cite import Citations
from casona.library.hit import Hit
from casona.library.relevance import enough
from casona.policy.zones import strictest
from casona.serve import Desk
from casona.settings import Library as LibrarySettings
from casona.tally import Call, Tally

Mode = Literal["generated", "extracts"]
Retrieve = Callable[[str, str | None, int], Awaitable[Sequence[Hit]]]
"""Question, collection (None for all) and number of passages in; the best passages out."""

LONGEST_QUESTION = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`model` empty takes the house's choice; `collection` None searches all."""

    text: str
    model: str = ""
    collection: str | None = None
    limit: int = 4
    extracts_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """First event: what the answer will rest on. `[n]` in it is hits[n - 1]."""

    hits: Sequence[Hit]
    model: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of the answer, citations checked."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Last event. `cited` are the passages the answer names, in order of first use."""

    text: str
    cited: tuple[int, ...]


ReadingEvent = Found | Piece | Answered


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingRoom:
    """Where questions about documents are answered."""

    desk: Desk
    retrieve: Retrieve
    settings: LibrarySettings

    async def ask(self, call: Call, question: Question) -> AsyncGenerator[ReadingEvent, None]:
        """Found, then Pieces, then one Answered. Raises CasonaError."""
        _check(question)
        model = "" if question.extracts_only else await self._model(call, question)
        mode: Mode = "generated" if model else "extracts"
        hits = await self.retrieve(question.text, question.collection, question.limit)
        answerable = enough(question.text, hits, crosses_languages=self._crosses_languages)
        if not (answerable and model):  # an answer without a model is an exchange too
            Tally(call, self.desk.record, model="extracts").settle()
        if not answerable:
            yield Found(hits=(), model=model, mode=mode)
            async for event in _said(answer.refusal(question.text)):
                yield event
            return
        yield Found(hits=hits, model=model, mode=mode)
        told = self._generated(call, question, hits, model) if model else self._quoted(question, hits)
        async with aclosing(told) as events:
            async for event in events:
                yield event

    async def _model(self, call: Call, question: Question) -> str:
        """The model to ask: the one named, the settings' one, or the first that chats. "" for none."""
        named = question.model or self.settings.answer_model or ""
        if named:
            await self.desk.admit(call, named, "chat")
            return named
        if not self.desk.catalog.entries:
            await self.desk.catalog.refresh()
        zone = strictest(self.desk.max_zone, call.key.max_zone)
        for entry in self.desk.catalog.entries:
            chats = any(not place.abilities or "chat" in place.abilities for place in entry.places)
            near = any(place.zone.distance <= zone.distance for place in entry.places)
            if chats and near and call.key.allows_model(entry.name):
                return entry.name
        return ""

    async def _generated(
        self, call: Call, question: Question, hits: Sequence[Hit], model: str
    ) -> AsyncGenerator[ReadingEvent, None]:
        request = answer.compose(question.text, hits, model=model, stream=True)
        citations = Citations(len(hits))
        told: list[str] = []
        async with aclosing(self.desk.events(call, request)) as events:
            async for event in events:
                if isinstance(event, Text) and (passing := citations.feed(event.text)):
                    told.append(passing)
                    yield Piece(passing)
        if rest := citations.finish():
            told.append(rest)
            yield Piece(rest)
        yield Answered(text="".join(told), cited=tuple(citations.cited))

    async def _quoted(self, question: Question, hits: Sequence[Hit]) -> AsyncGenerator[ReadingEvent, None]:
        quotes = extracts.extract(question.text, hits, crosses_languages=self._crosses_languages)
        text = extracts.as_text(quotes) or answer.refusal(question.text)
        async for event in _said(text, tuple(dict.fromkeys(quote.number for quote in quotes))):
            yield event

    @property
    def _crosses_languages(self) -> bool:
        return self.settings.embedder != "builtin"


async def _said(text: str, cited: tuple[int, ...] = ()) -> AsyncGenerator[ReadingEvent, None]:
    yield Piece(text)
    yield Answered(text=text, cited=cited)


def _check(question: Question) -> None:
    if not question.text.strip():
        raise BadRequest("question: must not be empty", param="question")
    if len(question.text) > LONGEST_QUESTION:
        raise BadRequest(
            f"question: has {len(question.text)} characters and the limit is {LONGEST_QUESTION}",
            param="question",
        )
