"""Rows of the library's tables to values and back, inside a transaction of the caller's."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select, update

from casona.records.library import (
    CollectionRecord,
    DocumentRecord,
    Gone,
    NewContent,
    NewDocument,
    PassageRecord,
    passage_ids,
)
from casona.records.library_tables import arrivals, collections, contents, documents, pages, passages

_ROWS_AT_ONCE = 500  # SQLite takes 32,766 values in one statement, and long lists of ids are slow


def store_document(connection: Connection, collection_id: int, new: NewDocument) -> str:
    if new.content is not None:
        _insert_content(connection, collection_id, new.content_id, new.content)
    now = time.time()
    mine = (documents.c.collection_id == collection_id, documents.c.source == new.source)
    known = connection.execute(select(documents.c.id).where(*mine)).scalar()
    if known is not None:
        held = {"content_id": new.content_id, "updated": now}
        connection.execute(update(documents).where(documents.c.id == known).values(held))
    else:
        known = uuid.uuid4().hex
        row = {"id": known, "collection_id": collection_id, "source": new.source}
        row |= {"content_id": new.content_id, "added": now, "updated": now}
        connection.execute(insert(documents).values(row))
    if new.arrival_id is not None:
        connection.execute(delete(arrivals).where(arrivals.c.id == new.arrival_id))
    return str(known)


def _insert_content(connection: Connection, collection_id: int, content_id: int, new: NewContent) -> None:
    row = {
        "id": content_id,
        "collection_id": collection_id,
        "hash": new.hash,
        "recipe": new.recipe,
        "title": new.title,
        "media_type": new.media_type,
        "language": new.language,
        "size_bytes": new.size_bytes,
        "pages": len(new.pages),
        "passages": len(new.passages),
        "notes": json.dumps(new.notes, ensure_ascii=False),
    }
    connection.execute(insert(contents).values(row))
    texts = [{"content_id": content_id, "number": number, "text": text} for number, text in new.pages]
    if texts:
        connection.execute(insert(pages), texts)
    ids = passage_ids(content_id, len(new.passages))
    parts = [
        {
            "id": id_,
            "content_id": content_id,
            "page": page,
            "start": start,
            "end": end,
            "heading": json.dumps(heading, ensure_ascii=False),
        }
        for id_, (page, start, end, heading) in zip(ids, new.passages, strict=True)
    ]
    if parts:
        connection.execute(insert(passages), parts)


def drop_unheld(connection: Connection, collection_id: int) -> tuple[Gone, ...]:
    """Delete the contents that no document holds any more, with their pages and passages."""
    held = select(documents.c.content_id).where(documents.c.collection_id == collection_id)
    unheld = (contents.c.collection_id == collection_id, contents.c.id.not_in(held))
    query = select(contents.c.id, contents.c.passages, contents.c.hash).where(*unheld)
    gone = tuple(Gone(id=row.id, passages=row.passages, hash=row.hash) for row in connection.execute(query))
    for some in runs([content.id for content in gone]):
        connection.execute(delete(contents).where(contents.c.id.in_(some)))
    return gone


def next_generation(connection: Connection, collection_id: int) -> int:
    mine = collections.c.id == collection_id
    connection.execute(update(collections).where(mine).values(generation=collections.c.generation + 1))
    return int(connection.execute(select(collections.c.generation).where(mine)).scalar_one())


def runs(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        yield ids[start : start + _ROWS_AT_ONCE]


def collection_record(row: Row[Any], documents: int = 0, passages: int = 0) -> CollectionRecord:
    return CollectionRecord(
        id=row.id,
        name=row.name,
        embedder=row.embedder,
        digest=row.digest,
        dimensions=row.dimensions,
        generation=row.generation,
        documents=documents,
        passages=passages,
    )


def document_rows() -> Select[Any]:
    columns: list[ColumnElement[Any]] = [
        documents.c.id,
        documents.c.source,
        documents.c.added,
        documents.c.updated,
        collections.c.name.label("collection"),
    ]
    return (
        select(*columns, *(column for column in contents.c if column.name not in ("id", "collection_id")))
        .join(contents, contents.c.id == documents.c.content_id)
        .join(collections, collections.c.id == documents.c.collection_id)
    )


def document_record(row: Row[Any]) -> DocumentRecord:
    fields = {name: getattr(row, name) for name in DocumentRecord.__slots__}
    return DocumentRecord(**fields | {"notes": tuple(json.loads(row.notes))})


def passage_rows() -> Select[Any]:
    columns: list[ColumnElement[Any]] = [
        passages.c.id,
        passages.c.content_id,
        documents.c.id.label("document_id"),
        documents.c.source,
        collections.c.name.label("collection"),
        contents.c.language,
        contents.c.title,
        passages.c.page,
        passages.c.start,
        passages.c.end,
        passages.c.heading,
    ]
    return (
        select(*columns)
        .join(contents, contents.c.id == passages.c.content_id)
        .join(documents, documents.c.content_id == contents.c.id)
        .join(collections, collections.c.id == contents.c.collection_id)
    )


def passage_record(row: Row[Any]) -> PassageRecord:
    fields = {name: getattr(row, name) for name in PassageRecord.__slots__}
    return PassageRecord(**fields | {"heading": tuple(json.loads(row.heading))})


def passage_text(passage: PassageRecord) -> Select[Any]:
    """Its part of the page alone: a text file is one page, however long."""
    text = func.substr(pages.c.text, passage.start + 1, passage.end - passage.start)
    here = (pages.c.content_id == passage.content_id, pages.c.number == passage.page)
    return select(text).where(*here)
