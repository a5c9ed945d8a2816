"""The library's records: what is in which collection, its pages, and where its passages lie.

Everything here is one transaction per call. Nothing becomes visible by halves: `store` brings whole
documents and takes what they replace, `remove` takes whole documents.
"""

import json
import time
from collections.abc import Iterable, Sequence

from sqlalchemy import delete, func, insert, select, union, update

from casona.exchange.errors import NotFound
from casona.records.database import Database
from casona.records.library import (
    Arrival,
    Change,
    CollectionRecord,
    DocumentRecord,
    NewContent,
    NewDocument,
    PageText,
    PassageRecord,
)
from casona.records.library_rows import (
    collection_record,
    document_record,
    document_rows,
    drop_unheld,
    next_generation,
    passage_record,
    passage_rows,
    passage_text,
    runs,
    store_document,
)
from casona.records.library_tables import arrivals, collections, contents, documents, pages, passages


class Documents:
    """Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def arrive(self, collection: str, source: str, digest: str, size_bytes: int) -> int:
        """Note that a file is here, before anything is done with it. Gives the arrival's id."""
        row = {
            "collection": collection,
            "source": source,
            "hash": digest,
            "size_bytes": size_bytes,
            "attempts": 1,
            "arrived": time.time(),
        }
        with self._database.write() as connection:
            key = connection.execute(insert(arrivals).values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def arrivals(self) -> list[Arrival]:
        """What a crash left undone, oldest first."""
        query = select(arrivals).order_by(arrivals.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [Arrival(**{name: row[name] for name in Arrival.__slots__}) for row in rows]

    def retry(self, arrival_id: int) -> None:
        """Count one more attempt."""
        with self._database.write() as connection:
            more = update(arrivals).values(attempts=arrivals.c.attempts + 1)
            connection.execute(more.where(arrivals.c.id == arrival_id))

    def forget(self, arrival_id: int) -> None:
        """An arrival will not become a document."""
        with self._database.write() as connection:
            connection.execute(delete(arrivals).where(arrivals.c.id == arrival_id))

    def collection(self, name: str) -> CollectionRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(collections).where(collections.c.name == name)).one_or_none()
        return None if row is None else collection_record(row)

    def found(self, name: str, *, embedder: str, digest: str, dimensions: int) -> CollectionRecord:
        """The collection of this name, made with this embedder when there is none."""
        with self._database.write() as connection:
            query = select(collections).where(collections.c.name == name)
            row = connection.execute(query).one_or_none()
            if row is None:
                pinned = {"embedder": embedder, "digest": digest, "dimensions": dimensions}
                new = {"name": name, "generation": 0, "created": time.time()} | pinned
                connection.execute(insert(collections).values(new))
                row = connection.execute(query).one()
        return collection_record(row)

    def pin(self, collection_id: int, *, embedder: str, digest: str, dimensions: int) -> int:
        """The collection has another embedder from now on. Gives its generation."""
        pinned = {"embedder": embedder, "digest": digest, "dimensions": dimensions}
        with self._database.write() as connection:
            connection.execute(update(collections).where(collections.c.id == collection_id).values(pinned))
            return next_generation(connection, collection_id)

    def collections(self) -> list[CollectionRecord]:
        """All of them by name, with counts of documents and passages."""
        counted = (
            select(documents.c.collection_id, func.count().label("documents"))
            .group_by(documents.c.collection_id)
            .subquery()
        )
        held = (
            select(contents.c.collection_id, func.sum(contents.c.passages).label("passages"))
            .group_by(contents.c.collection_id)
            .subquery()
        )
        query = (
            select(collections, counted.c.documents, held.c.passages)
            .outerjoin(counted, counted.c.collection_id == collections.c.id)
            .outerjoin(held, held.c.collection_id == collections.c.id)
            .order_by(collections.c.name)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [collection_record(row, row.documents or 0, int(row.passages or 0)) for row in rows]

    def content(self, collection_id: int, digest: str, recipe: str) -> int | None:
        """The content that these bytes, read this way, have in the collection."""
        same = (contents.c.collection_id == collection_id, contents.c.hash == digest)
        query = select(contents.c.id).where(*same, contents.c.recipe == recipe)
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    def has(self, content_id: int) -> bool:
        """Whether some document still holds this content."""
        with self._database.read() as connection:
            row = connection.execute(select(contents.c.id).where(contents.c.id == content_id)).first()
        return row is not None

    def content_of(self, collection: str, source: str) -> tuple[str, int] | None:
        """The document of this source and its content."""
        query = (
            select(documents.c.id, documents.c.content_id)
            .join(collections, collections.c.id == documents.c.collection_id)
            .where(collections.c.name == collection, documents.c.source == source)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.id, row.content_id)

    def store(self, collection_id: int, new: Iterable[NewDocument]) -> Change:
        """Bring whole documents; what their sources held before goes unless another source holds it too."""
        with self._database.write() as connection:
            ids = [store_document(connection, collection_id, document) for document in new]
            gone = drop_unheld(connection, collection_id)
            return Change(
                generation=next_generation(connection, collection_id),
                document_ids=tuple(ids),
                gone=gone,
            )

    def remove(self, collection_id: int, document_ids: Sequence[str]) -> Change:
        """Take documents away, and the collection with its last one. Ids that are not there are ignored.

        Call `wipe` afterwards, so that nothing of them is left in the file.
        """
        with self._database.write() as connection:
            mine = documents.c.collection_id == collection_id
            connection.execute(delete(documents).where(mine, documents.c.id.in_(document_ids)))
            gone = drop_unheld(connection, collection_id)
            generation = next_generation(connection, collection_id)
            if connection.execute(select(documents.c.id).where(mine).limit(1)).first() is None:
                connection.execute(delete(collections).where(collections.c.id == collection_id))
                generation = 0
        return Change(generation=generation, gone=gone)

    def wipe(self) -> None:
        """Leave nothing in the database's files of what was deleted before."""
        self._database.checkpoint()

    def documents(self, collection: str | None = None) -> list[DocumentRecord]:
        """By collection and source."""
        query = document_rows().order_by(collections.c.name, documents.c.source)
        if collection is not None:
            query = query.where(collections.c.name == collection)
        with self._database.read() as connection:
            return [document_record(row) for row in connection.execute(query)]

    def document(self, document_id: str) -> DocumentRecord:
        """Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(document_rows().where(documents.c.id == document_id)).one_or_none()
        if row is None:
            raise NotFound(f"there is no document {document_id!r}", param="id")
        return document_record(row)

    def page(self, document_id: str, number: int) -> PageText:
        """Raises NotFound."""
        query = (
            select(pages.c.text, contents.c.pages)
            .join(contents, contents.c.id == pages.c.content_id)
            .join(documents, documents.c.content_id == contents.c.id)
            .where(documents.c.id == document_id, pages.c.number == number)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"document {document_id!r} has no page {number}", param="page")
        return PageText(document_id=document_id, number=number, pages=row.pages, text=row.text)

    def languages(self, collection_id: int) -> frozenset[str]:
        query = select(contents.c.language).where(contents.c.collection_id == collection_id).distinct()
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def passages(self, ids: Sequence[int]) -> dict[int, PassageRecord]:
        """Those of these passages that belong to whole documents, by id."""
        found: dict[int, PassageRecord] = {}
        with self._database.read() as connection:
            for some in runs(ids):
                query = passage_rows().where(passages.c.id.in_(some)).order_by(documents.c.added.desc())
                for row in connection.execute(query):
                    found[row.id] = passage_record(row)  # the oldest document comes last, and stays
        return found

    def texts(self, found: Sequence[PassageRecord]) -> list[str | None]:
        """Each passage's text on its page; None when its document has just gone."""
        with self._database.read() as connection:
            return [connection.execute(passage_text(passage)).scalar() for passage in found]

    def held(self, collection_id: int) -> list[tuple[int, int]]:
        """(content id, number of passages) of a collection, by id."""
        query = select(contents.c.id, contents.c.passages).where(contents.c.collection_id == collection_id)
        with self._database.read() as connection:
            return [(row.id, row.passages) for row in connection.execute(query.order_by(contents.c.id))]

    def kept(self, content_id: int) -> NewContent | None:
        """A content as it was stored, to derive its rows again."""
        with self._database.read() as connection:
            row = connection.execute(select(contents).where(contents.c.id == content_id)).one_or_none()
            if row is None:
                return None
            texts = select(pages).where(pages.c.content_id == content_id).order_by(pages.c.number)
            parts = select(passages).where(passages.c.content_id == content_id).order_by(passages.c.id)
            return NewContent(
                hash=row.hash,
                recipe=row.recipe,
                title=row.title,
                media_type=row.media_type,
                language=row.language,
                size_bytes=row.size_bytes,
                pages=[(page.number, page.text) for page in connection.execute(texts)],
                passages=[
                    (part.page, part.start, part.end, tuple(json.loads(part.heading)))
                    for part in connection.execute(parts)
                ],
            )

    def is_held(self, digest: str) -> bool:
        """Whether a document or an arrival needs the file of this hash."""
        query = union(
            select(contents.c.hash).where(contents.c.hash == digest),
            select(arrivals.c.hash).where(arrivals.c.hash == digest),
        )
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def hashes(self) -> frozenset[str]:
        """Every file that is needed."""
        with self._database.read() as connection:
            return frozenset(
                connection.execute(union(select(contents.c.hash), select(arrivals.c.hash))).scalars()
            )
