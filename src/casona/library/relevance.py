"""Whether what was found can hold the answer at all, decided before a model is asked.

The rule is lexical and needs nothing but the question and the passages. Three shares are looked at: of the
question's terms in the best passage (longer terms tell more, so they weigh more), of its pairs of
neighbouring terms anywhere, and of its names and numbers anywhere. Chosen by measurement among weightings
by rarity, by sentence and by passage; docs/decisions/ has the figures. It errs on the side of asking the
model, which is told to refuse as well.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath

from casona.library.hit import Hit
from casona.library.language import language_of
from casona.library.terms import terms

THRESHOLD = 0.33
_NAMES_WEIGHT = 0.2
_LONGEST_WEIGHT = 10
_WORD = re.compile(r"[^\W_]+")


def enough(question: str, hits: Sequence[Hit], *, crosses_languages: bool = False) -> bool:
    """Whether to answer. False means: say that the documents don't hold the answer.

    `crosses_languages` tells that the embedder finds passages in other languages than the question's; then
    such passages are let through, since words cannot judge them. A question of nothing but stop words is
    let through.
    """
    if not hits:
        return False
    asked = language_of(question)
    if crosses_languages and any(asked and hit.language and hit.language != asked for hit in hits):
        return True
    return relevance(question, hits) > THRESHOLD


def relevance(question: str, hits: Sequence[Hit]) -> float:
    """From -0.2 (nothing in common) to 2 (one passage has all of the question's terms, in its order)."""
    asked = {language: terms(question, language) for language in {hit.language for hit in hits}}
    if not any(asked.values()):
        return 2.0
    best, pairs_found, names_found, names_asked = 0.0, 0.0, 0.0, False
    for language, wanted in asked.items():
        told = [terms(_all_told(hit), language) for hit in hits if hit.language == language]
        best = max(best, max(_covered(wanted, set(each)) for each in told))
        pairs_found = max(pairs_found, _pairs_covered(wanted, told))
        if names := _names(question, language):
            names_asked = True
            names_found = max(names_found, len(names.intersection(*[set().union(*told)])) / len(names))
    return best + pairs_found - (_NAMES_WEIGHT * (1 - names_found) if names_asked else 0)


def _all_told(hit: Hit) -> str:
    """The passage with what it stands under: a speech need not name its speaker in each paragraph."""
    return "\n".join((hit.content, *hit.heading, PurePath(hit.source).stem))


def weight(term: str) -> int:
    """How much a term tells: long words are rare ones, with no statistics needed."""
    return min(len(term), _LONGEST_WEIGHT)


def _covered(wanted: list[str], told: set[str]) -> float:
    distinct = set(wanted)
    return sum(weight(term) for term in distinct & told) / (sum(map(weight, distinct)) or 1)


def _pairs_covered(wanted: list[str], told: list[list[str]]) -> float:
    pairs = set(pairwise(wanted))
    if not pairs:
        return 0.0
    return len(pairs.intersection(pair for each in told for pair in pairwise(each))) / len(pairs)


def _names(question: str, language: str) -> set[str]:
    """Terms of the words that begin with a capital or a digit, the first word aside."""
    words = _WORD.findall(question)[1:]
    return {
        term for word in words if word[0].isupper() or word[0].isdigit() for term in terms(word, language)
    }
