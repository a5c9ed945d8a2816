"""The words that the lexical leg indexes and asks for: casefolded, stemmed, without accents or stop words.

A passage's terms are made in its document's language, a question's in every language that the collection
holds, so both sides always pass through the same steps. Nothing here is kept: the term index is derived,
and `VERSION` is part of what it is derived from.
"""

import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from casona.library.stopwords import STOP_WORDS

VERSION = "1"

STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian",
    "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch", "no": "norwegian",
    "nb": "norwegian", "nn": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "st": "sesotho", "sv": "swedish", "ta": "tamil", "tr": "turkish",
    "yi": "yiddish",
}  # fmt: skip
"""Language codes (ISO 639-1) and the Snowball stemmer of each. Any other language goes unstemmed."""

_REMEMBERED_WORDS = 300_000
_LONGEST_WORD = 64  # no word of a language is longer; what is comes from binary rubbish or encoded data


def _marks() -> str:
    """The vowel signs and accents that belong inside words and that `\\w` leaves out."""
    return "".join(chr(c) for c in range(0x300, 0x1200) if unicodedata.category(chr(c)) in ("Mn", "Mc"))


_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{_marks()}])*")
_RUN = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_HAS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_STRESS = re.compile("[\u0301\u0308]")  # á, ü; not the ñ, which stemming needs


def terms(text: str, language: str) -> list[str]:
    """The terms of `text` in reading order, repeats kept.

    `language` is an ISO 639-1 code; "" or one without a stemmer gives whole words. Scripts written without
    spaces (Chinese, Japanese, Thai …) and Korean give overlapping pairs of characters.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    known = _vocabulary(language if language in STEMMERS or language in STOP_WORDS else "")
    words = _WORD.findall(text.casefold())
    if not text.isascii() and _HAS_UNSPACED.search(text):
        words = [piece for word in words for piece in _pieces(word)]
    return [term for word in words if (term := known[word])]


def question_terms(question: str, languages: Iterable[str], *, asked_in: str) -> Iterator[tuple[str, str]]:
    """(language, term) of a question in each of these languages, repeats kept.

    The stop words of the language it is asked in go first: to a German stemmer "of" and "the" are rare words
    that tell much. A question of nothing else keeps them.
    """
    stop_words = STOP_WORDS.get(asked_in, frozenset())
    words = _WORD.findall(unicodedata.normalize("NFKC", question).casefold())
    telling = " ".join([word for word in words if fold(word) not in stop_words] or words)
    for language in languages:
        for term in terms(telling, language):
            yield language, term


def _pieces(word: str) -> list[str]:
    pieces: list[str] = []
    for run in _RUN.findall(word):
        if _HAS_UNSPACED.match(run) and len(run) > 2:
            pieces += [run[i : i + 2] for i in range(len(run) - 1)]
        else:
            pieces.append(run)
    return pieces


class _Vocabulary(dict[str, str]):
    """From a word to its term, "" for stop words. Words repeat, so each is worked out once."""

    def __init__(self, language: str) -> None:
        super().__init__()
        import snowballstemmer

        self._stemmer = snowballstemmer.stemmer(STEMMERS[language]) if language in STEMMERS else None
        self._spanish = language == "es"
        self._stop_words = STOP_WORDS.get(language, frozenset())
        self._lock = threading.Lock()  # a Snowball stemmer keeps its word in itself

    def __missing__(self, word: str) -> str:
        if len(self) >= _REMEMBERED_WORDS:
            self.clear()
        self[word] = term = self._term(word)
        return term

    def _term(self, word: str) -> str:
        folded = fold(word)
        if folded in self._stop_words:
            return ""
        if self._stemmer is not None and len(word) <= _LONGEST_WORD:
            with self._lock:
                folded = fold(self._stemmer.stemWord(self._prepared(word)))
        return folded[:_LONGEST_WORD]

    def _prepared(self, word: str) -> str:
        """Spanish is stemmed without stress marks, which people leave out when they ask.

        Measured on squad-es, nDCG@10: .835 for questions with and without them, where stemming first gives
        .836 and .828. Other stemmers tell endings apart by accents and get the word as it is.
        """
        if not self._spanish or word.isascii():
            return word
        return unicodedata.normalize("NFC", _STRESS.sub("", unicodedata.normalize("NFD", word)))


@cache
def _vocabulary(language: str) -> _Vocabulary:
    return _Vocabulary(language)


def fold(word: str) -> str:
    """The word without accents: "canción" and "cancion" become one. Marks of other scripts stay."""
    if word.isascii():
        return word
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", word)))
