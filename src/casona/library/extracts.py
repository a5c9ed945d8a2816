"""Answers without a language model: the sentences that fit the question best, quoted and cited."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from casona.library.cite import Quote
from casona.library.hit import Hit
from casona.library.relevance import enough, weight
from casona.library.sentences import sentences
from casona.library.terms import terms

_MOST_QUOTES = 3
_LONGEST_QUOTE = 600
_SHORTEST_QUOTE = 15
_WORTH_QUOTING = 0.6
_PAIR_WEIGHT = 0.5
_RANK_WEIGHT = 0.15
_CONTEXT_WEIGHT = 0.25
_SAME_SHARE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentence:
    quote: Quote
    terms: tuple[str, ...]


def extract(question: str, hits: Sequence[Hit], *, crosses_languages: bool = False) -> tuple[Quote, ...]:
    """One to three quotes that answer best, the best first; none when the passages don't hold the answer.

    `quote.text` is exactly the page's text at its place.
    """
    if not enough(question, hits, crosses_languages=crosses_languages):
        return ()
    told = [sentence for number, hit in enumerate(hits, 1) for sentence in _told(number, hit)]
    rarity = _rarity(told)
    scored = [(_score(sentence, question, hits, rarity), sentence) for sentence in told]
    scored.sort(key=lambda pair: -pair[0])
    chosen: list[_Sentence] = []
    for score, sentence in scored:
        if score <= 0 or len(chosen) == _MOST_QUOTES or score < _WORTH_QUOTING * scored[0][0]:
            break
        if not any(_is_same(sentence, other) for other in chosen):
            chosen.append(sentence)
    return tuple(sentence.quote for sentence in chosen)


def as_text(quotes: Sequence[Quote]) -> str:
    """The quotes as an answer, one paragraph each: `“…” [2]`. White space within a quote is evened out."""
    return "\n\n".join(f"“{' '.join(quote.text.split())}” [{quote.number}]" for quote in quotes)


def _told(number: int, hit: Hit) -> Iterator[_Sentence]:
    for start, end in sentences(hit.content):
        for low, high in _quotable(hit.content, start, end):
            text = hit.content[low:high]
            if len(text) >= _SHORTEST_QUOTE:
                quote = Quote(number=number, start=hit.start + low, end=hit.start + high, text=text)
                yield _Sentence(quote=quote, terms=tuple(terms(text, hit.language)))


def _quotable(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What is too long to quote (a table, a list, code) by its lines."""
    if end - start <= _LONGEST_QUOTE:
        yield start, end
        return
    position = start
    for line in text[start:end].splitlines(keepends=True):
        body = line.strip()
        if body:
            low = position + line.index(body)
            yield low, min(low + len(body), low + _LONGEST_QUOTE)
        position += len(line)


def _rarity(told: Sequence[_Sentence]) -> dict[str, float]:
    """How much a term sets sentences apart, among those found."""
    counts = Counter(term for sentence in told for term in set(sentence.terms))
    return {term: math.log(1 + len(told) / count) for term, count in counts.items()}


def _score(sentence: _Sentence, question: str, hits: Sequence[Hit], rarity: dict[str, float]) -> float:
    hit = hits[sentence.quote.number - 1]
    wanted = terms(question, hit.language)
    around = set(terms(hit.content, hit.language))
    here = set(sentence.terms)
    score = sum(weight(term) * rarity[term] for term in set(wanted) & here)
    if not score:
        return 0.0
    score += _CONTEXT_WEIGHT * sum(weight(term) * rarity.get(term, 0) for term in set(wanted) & around - here)
    pairs = set(pairwise(wanted)) & set(pairwise(sentence.terms))
    score += _PAIR_WEIGHT * sum((weight(a) + weight(b)) / 2 for a, b in pairs)
    return score * (1 - _RANK_WEIGHT * (sentence.quote.number - 1) / len(hits))


def _is_same(sentence: _Sentence, other: _Sentence) -> bool:
    """Whether they say the same: passages overlap, and documents repeat themselves."""
    ours, theirs = set(sentence.terms), set(other.terms)
    return len(ours & theirs) > _SAME_SHARE * min(len(ours), len(theirs))
