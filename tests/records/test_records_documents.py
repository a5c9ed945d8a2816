"""What the library keeps, and that nothing appears or goes by halves."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from casona.exchange.errors import NotFound
from casona.records.database import Database, open_database
from casona.records.documents import Documents
from casona.records.library import Arrival, NewContent, NewDocument, PageText, passage_ids
from casona.records.library_tables import arrivals, collections, contents, pages, passages

HASH = "ab" * 32


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database("sqlite:///casona.db", tmp_path)
    yield database
    database.close()


@pytest.fixture
def library(database: Database) -> Documents:
    return Documents(database)


def content(text: str = "Año nuevo 🎉 vida nueva", digest: str = HASH) -> NewContent:
    return NewContent(
        hash=digest,
        recipe="1",
        title="Año",
        media_type="text/plain",
        language="es",
        size_bytes=30,
        pages=[(1, text)],
        passages=[(1, 0, 11, ("Uno", "Dos")), (1, 10, len(text), ())],
        notes=("a note",),
    )


def begun(library: Documents, name: str = "notes") -> int:
    return library.found(name, embedder="builtin", digest="d", dimensions=256).id


def stored(library: Documents, source: str, new: NewContent | None = None) -> tuple[str, int]:
    """Store a document; gives its id and its content's."""
    new = new or content()
    arrival = library.arrive("notes", source, new.hash, new.size_bytes)
    document = NewDocument(arrival_id=arrival, source=source, content_id=arrival, content=new)
    return library.store(begun(library), [document]).document_ids[0], arrival


def rows(database: Database) -> dict[str, int]:
    with database.read() as connection:
        tables = (arrivals, collections, contents, pages, passages)
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        }


def test_an_arrival_becomes_a_document(library: Documents, database: Database) -> None:
    arrival = library.arrive("notes", "a.txt", HASH, 30)
    waiting = Arrival(id=arrival, collection="notes", source="a.txt", hash=HASH, size_bytes=30, attempts=1)
    assert library.arrivals() == [waiting]
    new = NewDocument(arrival_id=arrival, source="a.txt", content_id=arrival, content=content())
    change = library.store(begun(library), [new])
    assert (change.generation, change.gone) == (1, ())
    assert rows(database) == {"arrivals": 0, "collections": 1, "contents": 1, "pages": 1, "passages": 2}
    (record,) = library.documents()
    assert (record.id, record.source, record.title, record.notes) == (
        change.document_ids[0],
        "a.txt",
        "Año",
        ("a note",),
    )
    assert (record.pages, record.passages, record.hash, record.language) == (1, 2, HASH, "es")
    assert library.kept(arrival) == NewContent(
        **{name: getattr(content(), name) for name in NewContent.__slots__ if name != "notes"}
    )


def test_passages_are_read_by_code_points(library: Documents) -> None:
    document, content_id = stored(library, "a.txt")
    found = library.passages([*passage_ids(content_id, 2), 12345])
    first, second = (found[id_] for id_ in passage_ids(content_id, 2))
    assert library.texts([first, second]) == ["Año nuevo 🎉", "🎉 vida nueva"]
    assert (first.heading, second.heading) == (("Uno", "Dos"), ())
    assert first.document_id == document
    whole = PageText(document_id=document, number=1, pages=1, text="Año nuevo 🎉 vida nueva")
    assert library.page(document, 1) == whole


def test_nothing_is_stored_when_one_of_several_fails(library: Documents, database: Database) -> None:
    collection = begun(library)
    good = NewDocument(arrival_id=None, source="a.txt", content_id=1, content=content())
    bad = NewDocument(arrival_id=None, source="b.txt", content_id=99)
    with pytest.raises(IntegrityError):
        library.store(collection, [good, bad])
    assert rows(database) == {"arrivals": 0, "collections": 1, "contents": 0, "pages": 0, "passages": 0}


def test_an_update_takes_what_it_replaces_and_keeps_the_id(library: Documents) -> None:
    first, old = stored(library, "a.txt")
    before = library.passages([old << 20])[old << 20]
    again = NewDocument(arrival_id=None, source="a.txt", content_id=77, content=content("otro", "cd" * 32))
    change = library.store(begun(library), [again])
    assert change.document_ids == (first,)
    assert [(gone.id, gone.passages, gone.hash) for gone in change.gone] == [(old, 2, HASH)]
    assert library.passages(list(passage_ids(old, 2))) == {}
    assert library.page(first, 1).text == "otro"
    assert library.texts([before]) == [None]
    assert (library.is_held(HASH), library.hashes()) == (False, {"cd" * 32})


def test_content_goes_with_its_last_document_and_the_collection_too(
    library: Documents, database: Database
) -> None:
    one, content_id = stored(library, "a.txt")
    shared = NewDocument(arrival_id=None, source="b.txt", content_id=content_id)
    (two,) = library.store(begun(library), [shared]).document_ids
    assert library.content(begun(library), HASH, "1") == content_id
    assert library.passages([content_id << 20])[content_id << 20].source == "a.txt"
    assert library.remove(begun(library), [one]).gone == ()
    assert library.passages([content_id << 20])[content_id << 20].source == "b.txt"
    change = library.remove(begun(library), [two])
    assert (change.generation, [gone.id for gone in change.gone]) == (0, [content_id])
    assert set(rows(database).values()) == {0}


def test_numbers_are_never_used_again(library: Documents) -> None:
    document, content_id = stored(library, "a.txt")
    collection = begun(library)
    library.remove(collection, [document])
    _, later = stored(library, "a.txt")
    assert later > content_id
    assert begun(library) > collection


def test_what_is_removed_is_gone_from_the_file(library: Documents, tmp_path: Path) -> None:
    stored(library, "kept.txt", content("something else", "cd" * 32))
    document, _ = stored(library, "a.txt", content("Gryphonsquatch " * 2000))
    library.remove(begun(library), [document])
    library.wipe()
    assert [file.name for file in tmp_path.glob("casona.db*") if b"Gryphon" in file.read_bytes()] == []


def test_what_is_not_there_is_told(library: Documents) -> None:
    assert library.collection("notes") is None
    assert library.content_of("notes", "a.txt") is None
    for asking in (lambda: library.document("x"), lambda: library.page("x", 1)):
        with pytest.raises(NotFound):
            asking()


def test_collections_are_counted(library: Documents) -> None:
    stored(library, "a.txt")
    stored(library, "b.txt", content("otro", "cd" * 32))
    (record,) = library.collections()
    assert (record.name, record.documents, record.passages, record.generation) == ("notes", 2, 4, 2)
    assert library.languages(record.id) == {"es"}
    assert [count for _, count in library.held(record.id)] == [2, 2]
