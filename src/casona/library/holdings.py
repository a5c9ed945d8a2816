"""The library's collections as one thread changes them: whole documents in, whole documents out.

First the index, which nobody trusts before the database has said yes; then the database, in one transaction;
then what has become superfluous goes. A crash between any two of these leaves the old state or the new one,
and an index that knows it must be looked at (store/index.py).
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from casona.exchange.errors import OutOfSpace
from casona.library.collection import Collection, Rows, rows_of
from casona.library.disk import room
from casona.library.embedders import BUILTIN, Embedder, Embedders
from casona.library.originals import Originals
from casona.library.store.base import Ids, StoreFailed, Vectors
from casona.records.documents import Documents
from casona.records.library import Change, CollectionRecord, NewDocument, passage_ids

log = logging.getLogger(__name__)

PURGED_AT_ONCE_ROWS = 20_000
"""Vectors written anew whenever one is removed: it takes 0.3 s. More wait until nobody writes, or the end."""

_MOST_OPEN = 64

T = TypeVar("T")


class Overtaken(Exception):
    """What the document was to share has just gone: read its file after all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving:
    """A document to store. `rows` are its content's, None when it shares the content of another."""

    document: NewDocument
    rows: Rows | None = None


class Holdings:
    """Everything but `embedder_of` belongs to the writer's thread (writer.py)."""

    def __init__(
        self, documents: Documents, originals: Originals, folder: Path, embedders: Embedders
    ) -> None:
        self.documents = documents
        self.originals = originals
        self.keeping = threading.Lock()
        """Held from keeping a file until its arrival is recorded, lest it be taken for a leftover."""
        self._folder = folder
        self._embedders = embedders
        self._open: dict[str, Collection] = {}
        self._is_unwiped = False

    def embedder_of(self, record: CollectionRecord | None, configured: str) -> Embedder:
        """The embedder a collection is pinned to; `configured` for one that is not there yet."""
        if record is None or record.embedder == BUILTIN:
            return self._embedders.get(configured if record is None else BUILTIN)
        return self._embedders.get(record.embedder, digest=record.digest, dimensions=record.dimensions)

    def peek(self, name: str) -> Collection | None:
        """The collection if it is open. Any thread may ask."""
        return self._open.get(name)

    def open(self, name: str, *, is_to_change: bool = False) -> Collection | None:
        """The collection with a current index; None when there is none of that name.

        Without space to make the index current it is good enough for a search, which asks the database again,
        but not for a change: then OutOfSpace is raised.
        """
        found = self._open.get(name)
        if found is None and (record := self.documents.collection(name)) is not None:
            found = self._opened(record, is_to_change=is_to_change)
        return found

    def store(self, name: str, arriving: Sequence[Arriving], configured: str) -> list[str | Overtaken]:
        """Store documents together; gives each one's id. Raises CasonaError, and then none is stored."""
        return self._again_if_damaged(name, lambda: self._store(name, arriving, configured))

    def remove(self, name: str, document_ids: Sequence[str]) -> None:
        """Remove documents together, and what only they held, from the disk too."""
        try:
            self._again_if_damaged(name, lambda: self._remove(name, document_ids))
        except OutOfSpace:
            log.warning("no space left: collection %s gives up its index to make room", name)
            self._remove_in_a_pinch(name, document_ids)

    def distrust(self, collection: Collection) -> None:
        """Its index has failed: build it again when it is next needed."""
        if self._open.get(collection.name) is collection:
            log.error("the index of collection %s is damaged; it will be built again", collection.name)
            self._close(collection)
            shutil.rmtree(self._index_folder(collection.id), ignore_errors=True)

    def settle(self, *, purge_all: bool = False) -> None:
        """Between changes: leave nothing of what is gone, and keep searches fast."""
        for collection in list(self._open.values()):
            index = collection.index
            if index.removed and (purge_all or index.rows < PURGED_AT_ONCE_ROWS):
                index.purge()
            index.tend(idle=True)
        if self._is_unwiped:
            self.documents.wipe()
            self._is_unwiped = False

    def sweep(self) -> None:
        """Delete what a crash left behind: files of no document, indexes of no collection."""
        with self.keeping:
            for digest in self.originals.all() - self.documents.hashes():
                self.originals.drop(digest)
        ids = {str(record.id) for record in self.documents.collections()}
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in self._folder.iterdir():
            if folder.name not in ids:
                shutil.rmtree(folder)

    def counts(self) -> dict[str, object]:
        """What there is of everything, to see that it agrees: rows per collection, files, files needed."""
        collections: dict[str, dict[str, int]] = {}
        for record in self.documents.collections():
            collection = self.open(record.name)
            status = collection.index.status() if collection is not None else {}
            collections[record.name] = {
                "documents": record.documents,
                "passages": record.passages,
                "vectors": status.get("rows", 0),
                "terms": status.get("term_rows", 0),
                "removed_vectors": status.get("removed", 0),
            }
        files, needed = self.originals.all(), self.documents.hashes()
        return {
            "collections": collections,
            "files": len(files),
            "files_needed": len(needed),
            "leftovers": len(files ^ needed),
        }

    def close(self) -> None:
        for collection in list(self._open.values()):
            if collection.index.removed:
                collection.index.purge()
            self._close(collection)

    def _again_if_damaged(self, name: str, change: Callable[[], T]) -> T:
        try:
            return change()
        except StoreFailed:
            if (collection := self._open.get(name)) is None:
                raise
            log.exception("collection %s", name)
            self.distrust(collection)
            return change()

    def _store(self, name: str, arriving: Sequence[Arriving], configured: str) -> list[str | Overtaken]:
        collection = self._begun(name, configured)
        shared = self._shared(collection, arriving)
        kept = [one for one in shared if one is not None]
        fresh = sorted(
            (one for one in kept if one.document.content is not None), key=lambda one: one.document.content_id
        )
        with self._changing(collection):
            self._index(collection, fresh)
            change = self.documents.store(collection.id, [one.document for one in kept])
            self._let_go(collection, change)
        collection.index.tend(idle=False)
        ids = iter(change.document_ids)
        return [Overtaken() if one is None else next(ids) for one in shared]

    def _shared(self, collection: Collection, arriving: Sequence[Arriving]) -> list[Arriving | None]:
        """The same, with content that is there already left out; None where it no longer is."""
        new: dict[tuple[str, str], int] = {}
        result: list[Arriving | None] = []
        for one in arriving:
            document, content = one.document, one.document.content
            if content is None:
                result.append(one if self.documents.has(document.content_id) else None)
                continue
            identity = (content.hash, content.recipe)
            known = new.get(identity) or self.documents.content(collection.id, *identity)
            if known is None:
                new[identity] = document.content_id
                result.append(one)
            else:
                result.append(Arriving(document=replace(document, content=None, content_id=known)))
        return result

    def _index(self, collection: Collection, fresh: Sequence[Arriving]) -> None:
        """Add what new contents derive, all at once: each addition is a file in either index."""
        ids: list[Ids] = []
        vectors: list[Vectors] = []
        terms: list[Sequence[int]] = []
        for one in fresh:
            content, rows = one.document.content, one.rows
            assert content is not None
            if rows is None or rows.digest != collection.embedder.digest:
                rows = rows_of(content, collection.embedder)  # begun anew with another embedder meanwhile
            ids.append(np.asarray(passage_ids(one.document.content_id, len(content.passages)), np.int64))
            vectors.append(rows.vectors)
            terms += rows.terms
        if ids:
            collection.index.add(np.concatenate(ids), np.concatenate(vectors), terms)

    def _remove(self, name: str, document_ids: Sequence[str]) -> None:
        if (collection := self.open(name, is_to_change=True)) is None:
            return
        with self._changing(collection):
            change = self.documents.remove(collection.id, document_ids)
            self._let_go(collection, change)
        if change.generation and collection.index.rows < PURGED_AT_ONCE_ROWS:
            collection.index.purge()
        self.documents.wipe()
        self._is_unwiped = False

    def _remove_in_a_pinch(self, name: str, document_ids: Sequence[str]) -> None:
        """Removing needs room, too, and who removes wants some: the index can be built again."""
        if (collection := self._open.get(name)) is not None:
            self._close(collection)
        if (record := self.documents.collection(name)) is None:
            return
        shutil.rmtree(self._index_folder(record.id), ignore_errors=True)
        self._drop_files(self.documents.remove(record.id, document_ids))
        self.documents.wipe()

    def _let_go(self, collection: Collection, change: Change) -> None:
        """Nothing of what is gone stays in the index, nor its file unless something else needs it."""
        if change.generation:
            gone = [passage_ids(content.id, content.passages) for content in change.gone]
            collection.index.remove(np.concatenate([np.asarray(ids, np.int64) for ids in [range(0), *gone]]))
            collection.index.commit(change.generation)
        else:
            self._close(collection)
            shutil.rmtree(self._index_folder(collection.id), ignore_errors=True)
        self._drop_files(change)

    def _drop_files(self, change: Change) -> None:
        with self.keeping:
            for digest in {content.hash for content in change.gone}:
                if not self.documents.is_held(digest):
                    self.originals.drop(digest)
        self._is_unwiped = self._is_unwiped or bool(change.gone)

    @contextmanager
    def _changing(self, collection: Collection) -> Iterator[None]:
        """When a change fails halfway the collection is closed; opening it reconciles its index."""
        try:
            with room():
                collection.index.begin()
                yield
        except BaseException:
            self._close(collection)
            raise

    def _begun(self, name: str, configured: str) -> Collection:
        found = self.open(name, is_to_change=True)
        if found is not None:
            return found
        embedder = self.embedder_of(None, configured)
        record = self.documents.found(
            name, embedder=embedder.name, digest=embedder.digest, dimensions=embedder.dimensions
        )
        return self._opened(record, is_to_change=True)

    def _opened(self, record: CollectionRecord, *, is_to_change: bool) -> Collection:
        embedder = self.embedder_of(record, record.embedder)
        if embedder.digest != record.digest:  # another Casona brought another built-in table
            digest, dimensions = embedder.digest, embedder.dimensions
            generation = self.documents.pin(
                record.id, embedder=embedder.name, digest=digest, dimensions=dimensions
            )
            record = replace(record, digest=digest, dimensions=dimensions, generation=generation)
        with room():
            collection = Collection(record, embedder, self._index_folder(record.id))
        try:
            with room():
                collection.reconcile(self.documents, record.generation)
        except OutOfSpace:
            if is_to_change:
                raise
            log.warning(
                "collection %s is searched as it is: no space left to look after its index", record.name
            )
            return collection  # and tried again at the next search
        self._open[record.name] = collection
        for oldest in list(self._open.values())[:-_MOST_OPEN]:
            self._close(oldest)
        return collection

    def _close(self, collection: Collection) -> None:
        self._open.pop(collection.name, None)
        collection.index.close()

    def _index_folder(self, collection_id: int) -> Path:
        return self._folder / str(collection_id)
