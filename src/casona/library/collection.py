"""One collection, open: its records, its derived index, and how the one is made from the other."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from casona.library import terms as words
from casona.library.embedders import Embedder
from casona.library.store.base import Ids, Vectors
from casona.library.store.index import Index
from casona.library.store.postings import keys
from casona.records.documents import Documents
from casona.records.library import PASSAGES_BITS, CollectionRecord, NewContent, passage_ids

log = logging.getLogger(__name__)

_PASSAGES_AT_ONCE = 4000
_PASSAGES_TOLD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the index holds of some passages; made by the embedder of this digest."""

    digest: str
    vectors: Vectors
    terms: Sequence[Sequence[int]]


def rows_of(content: NewContent, embedder: Embedder, told: Callable[[int], None] = lambda _: None) -> Rows:
    """Derive a content's rows, telling now and then how many are done.

    Raises CasonaError when the embedder cannot be asked.
    """
    texts = list(indexed_texts(content))
    vectors = [np.empty((0, embedder.dimensions), np.float32)]
    for start in range(0, len(texts), _PASSAGES_TOLD):
        vectors.append(embedder.embed(texts[start : start + _PASSAGES_TOLD]))
        told(min(start + _PASSAGES_TOLD, len(texts)))
    terms = keys_of(texts, content.language)
    return Rows(digest=embedder.digest, vectors=np.concatenate(vectors), terms=terms)


def indexed_texts(content: NewContent) -> Iterator[str]:
    """What is searched of each passage: its text below its headings, and the title of the whole.

    Measured on squad-es: with titles BM25 gains .005 of nDCG@10, the fusion .007.
    """
    pages = dict(content.pages)
    for page, start, end, heading in content.passages:
        title = () if heading[:1] == (content.title,) else (content.title,)
        yield "\n".join((*title, *heading, pages[page][start:end]))


def keys_of(texts: Iterable[str], language: str) -> list[list[int]]:
    names = keys(language)
    return [[names[term] for term in words.terms(text, language)] for text in texts]


class Collection:
    """Its index is as the records say from `reconciled` on; one thread changes it."""

    def __init__(self, record: CollectionRecord, embedder: Embedder, folder: Path) -> None:
        self.id = record.id
        self.name = record.name
        self.embedder = embedder
        identity = f"{embedder.name}/{record.digest}/{words.VERSION}"
        self.index = Index(folder, identity=identity, dimensions=record.dimensions)
        self._languages: tuple[int, frozenset[str]] = (-1, frozenset())

    def languages(self, documents: Documents) -> frozenset[str]:
        """The languages its documents are in, asked again after every change."""
        generation = self.index.generation
        if self._languages[0] != generation:
            self._languages = (generation, documents.languages(self.id))
        return self._languages[1]

    def reconcile(self, documents: Documents, generation: int) -> None:
        """Make the index hold what the records hold, no more and no less; does nothing when it is current."""
        if self.index.is_at(generation):
            return
        wanted = _ids(documents.held(self.id))
        with_vectors, with_terms = self.index.ids()
        self.index.begin()
        extra = np.setdiff1d(np.union1d(with_vectors, with_terms), wanted)
        self.index.remove(extra)
        lacking = _Lacking(np.setdiff1d(wanted, with_vectors), np.setdiff1d(wanted, with_terms))
        for content_id in lacking.content_ids():
            if (content := documents.kept(content_id)) is not None:
                lacking.derive(content_id, content, self.embedder)
            if lacking.derived >= _PASSAGES_AT_ONCE:
                lacking.flush(self.index)
        lacking.flush(self.index)
        self.index.commit(generation)
        log.info("collection %s: index reconciled, %d passages removed", self.name, len(extra))


class _Lacking:
    """Passages whose rows the index lacks, derived again and added in batches."""

    def __init__(self, vectors: Ids, terms: Ids) -> None:
        self._lacking = (vectors, terms)
        self.derived = 0
        self._clear()

    def content_ids(self) -> list[int]:
        lists: list[int] = np.unique(np.concatenate(self._lacking) >> PASSAGES_BITS).tolist()
        return lists

    def derive(self, content_id: int, content: NewContent, embedder: Embedder) -> None:
        ids = _ids([(content_id, len(content.passages))])
        texts = list(indexed_texts(content))
        lacking_vectors, lacking_terms = (np.flatnonzero(np.isin(ids, lack)) for lack in self._lacking)
        if len(lacking_vectors):
            self._vector_ids.append(ids[lacking_vectors])
            self._vectors.append(embedder.embed([texts[i] for i in lacking_vectors]))
        if len(lacking_terms):
            self._term_ids.append(ids[lacking_terms])
            self._terms += keys_of([texts[i] for i in lacking_terms], content.language)
        self.derived += len(ids)

    def flush(self, index: Index) -> None:
        if self._vector_ids:
            index.add_vectors(np.concatenate(self._vector_ids), np.concatenate(self._vectors))
        if self._term_ids:
            index.add_terms(np.concatenate(self._term_ids), self._terms)
        self._clear()

    def _clear(self) -> None:
        self.derived = 0
        self._vector_ids: list[Ids] = []
        self._vectors: list[Vectors] = []
        self._term_ids: list[Ids] = []
        self._terms: list[list[int]] = []


def _ids(held: Sequence[tuple[int, int]]) -> Ids:
    ranges = [np.arange(r.start, r.stop, dtype=np.int64) for r in (passage_ids(*one) for one in held)]
    return np.concatenate(ranges) if ranges else np.empty(0, np.int64)
