"""The library's REST routes on a real house: documents in, found, paged and out again."""

import errno
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.web.reading_house import ABEJAS, BEES, Reading, Reply, portable, reading_house, word

from casona.web import incoming

DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    with reading_house(tmp_path_factory.mktemp("library"), server={"max_upload_bytes": 300_000}) as house:
        yield house


def search(house: Reading, words: str, collection: str) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = house.ask(
        "GET", f"/library/search?{urlencode({'q': words, 'collection': collection})}"
    ).json["hits"]
    return hits


def test_a_document_is_added_shown_and_removed(house: Reading) -> None:
    told = house.put("/home/ada/bees.md", BEES.encode(), "life").json
    document = told["document"]
    assert told == {"path": "/home/ada/bees.md", "outcome": "stored", "document": document, "reason": ""}
    shown = house.ask("GET", f"/library/documents/{document}").json
    assert {name: shown[name] for name in ("id", "collection", "source", "title", "language", "pages")} == {
        "id": document,
        "collection": "life",
        "source": "/home/ada/bees.md",
        "title": "Bees",
        "language": "en",
        "pages": 1,
    }
    assert (shown["size_bytes"], shown["passages"], shown["notes"]) == (len(BEES), 1, [])
    assert house.ask("DELETE", f"/library/documents/{document}").json == shown
    assert house.ask("GET", f"/library/documents/{document}").error == (
        404,
        f"there is no document {document!r}",
        "id",
    )


def test_the_same_bytes_change_nothing_and_new_ones_take_their_place(house: Reading) -> None:
    first = house.put("/notes/a.md", BEES.encode(), "changes").json
    again = house.put("/notes/a.md", BEES.encode(), "changes").json
    assert again == first | {"outcome": "unchanged"}
    changed = house.put("/notes/a.md", ABEJAS.encode(), "changes").json
    assert changed == first | {"outcome": "updated"}
    for words in ("abeja reina", "two thousand eggs"):
        assert [hit["content"] for hit in search(house, words, "changes")] == [ABEJAS.strip()]


def test_a_hit_is_exactly_that_text_of_its_page(house: Reading, tmp_path: Path) -> None:
    files = {
        "bees.md": BEES.encode(),
        "abejas.txt": ("Introducción sobre la colmena.\n\n" * 40 + ABEJAS).encode(),
        "wells.docx": word(
            tmp_path / "w.docx", "Ground water", "Wells are dug with ñandú feathers 🪶 inside."
        ),
        "tides.pdf": portable(
            tmp_path / "t.pdf", "The first page.", "Tides rise twice a day on most coasts."
        ),
    }
    ids = {name: house.stored(f"/exact/{name}", content, "exact") for name, content in files.items()}
    found: dict[str, Any] = {}
    for question in (
        "queen bee eggs",
        "cuántos huevos pone la abeja reina",
        "wells feathers",
        "tides coasts",
    ):
        for hit in search(house, question, "exact"):
            assert house.page(hit["document"], hit["page"])[hit["start"] : hit["end"]] == hit["content"]
            found.setdefault(Path(hit["source"]).name, hit)
    assert {name: hit["document"] for name, hit in found.items()} == ids
    assert found["tides.pdf"]["page"] == 2


def test_documents_are_listed_some_at_a_time(house: Reading) -> None:
    sources = [f"/many/{number}.txt" for number in range(5)]
    for source in reversed(sources):
        house.stored(source, f"Note about {source}".encode(), "many")
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        query = {"collection": "many", "limit": "2"} | ({"after": after} if after else {})
        page = house.ask("GET", f"/library/documents?{urlencode(query)}").json
        found += [document["source"] for document in page["documents"]]
        house.ask("DELETE", f"/library/documents/{page['documents'][-1]['id']}")  # the cursor lives on
        after = page["after"]
    assert found == sources
    assert house.ask("GET", "/library/documents?collection=many").json["documents"][0]["source"] == sources[0]


def test_a_document_is_found_by_its_source(house: Reading) -> None:
    document = house.stored("/by source/año ½.md", BEES.encode(), "sources")
    house.stored("/by source/other.md", ABEJAS.encode(), "sources")
    found = house.ask("GET", f"/library/documents?source={quote('/by source/año ½.md')}").json
    assert ([one["id"] for one in found["documents"]], found["after"]) == ([document], None)


def test_collections_are_listed_while_they_hold_something(house: Reading) -> None:
    document = house.stored("/c/bees.md", BEES.encode(), "colección nueva")
    listed = house.ask("GET", "/library/collections").json["collections"]
    assert {"name": "colección nueva", "documents": 1, "passages": 1, "embedder": "builtin"} in listed
    house.ask("DELETE", f"/library/documents/{document}")
    listed = house.ask("GET", "/library/collections").json["collections"]
    assert "colección nueva" not in [one["name"] for one in listed]


def test_the_status_tells_what_is_there(house: Reading) -> None:
    house.stored("/s/bees.md", BEES.encode(), "status")
    status = house.ask("GET", "/library/status").json
    assert (status["state"], status["memory_bytes"] > 0, "status" in status["collections"]) == (
        "awake",
        True,
        True,
    )


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("search?q=%20", (400, "q: must not be empty", "q")),
        ("search", (400, "q: field required", "q")),
        ("search?q=a&limit=51", (400, "limit: input should be less than or equal to 50", "limit")),
        ("search?q=a&colection=b", (400, "colection: extra inputs are not permitted", "colection")),
        ("search?q=a&collection=nope", (404, "there is no collection 'nope'", "collection")),
        ("documents?collection=nope", (404, "there is no collection 'nope'", "collection")),
        ("documents?limit=0", (400, "limit: input should be greater than or equal to 1", "limit")),
        (
            "documents?after=x",
            (400, "after: is not what an earlier page gave; leave it out to begin anew", "after"),
        ),
        ("documents/nope", (404, "there is no document 'nope'", "id")),
        ("documents/nope/pages/1", (404, "document 'nope' has no page 1", "page")),
        (
            "documents/nope/pages/one",
            (400, "number: input should be a valid integer, unable to parse string as an integer", "number"),
        ),
        ("nothing", (404, "Not Found", None)),
    ],
)
def test_what_is_asked_wrongly_is_told(house: Reading, path: str, error: tuple[int, str, str | None]) -> None:
    assert house.ask("GET", f"/library/{path}").error == error


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({}, (400, "source: field required", "source")),
        ({"source": ""}, (400, "source: must not be empty", "source")),
        ({"source": "a\nb.md"}, (400, "source: holds control characters", "source")),
        (
            {"source": "a" * 4097},
            (400, "source: has 4097 characters and the limit is 4096", "source"),
        ),
        (
            {"source": "a.md", "collection": ""},
            (400, "collection: must not be empty", "collection"),
        ),
        (
            {"source": "a.md", "collection": " a"},
            (400, "collection: begins or ends with a space", "collection"),
        ),
        ({"source": "a.md"}, (400, "it is empty (0 bytes)", "file")),
    ],
)
def test_what_cannot_be_placed_is_refused(
    house: Reading, query: dict[str, str], error: tuple[int, str, str | None]
) -> None:
    before = house.leftovers()
    assert house.ask("PUT", f"/library/documents?{urlencode(query)}", b"").error == error
    assert house.leftovers() == before


def test_any_key_reads_and_only_an_admin_key_writes(house: Reading) -> None:
    document = house.stored("/keys/bees.md", BEES.encode(), "keys")
    key = house.make_key(name="reader")
    assert house.ask("GET", f"/library/documents/{document}", key=key).status == 200
    assert house.ask("GET", "/library/search?q=bees", key=key).status == 200
    refusal = (403, "changing the library needs an admin key; /rag/upload takes files with any key", None)
    assert house.put("/keys/new.md", b"new", "keys", key=key).error == refusal
    assert house.ask("POST", "/library/documents?source=a.md", b"new", key=key).error == refusal
    assert house.ask("DELETE", f"/library/documents/{document}", key=key).error == refusal
    assert house.ask("GET", "/library/documents", key="").status == 401
    assert house.ask("GET", f"/library/documents/{document}").status == 200


def test_a_body_beyond_the_limit_is_refused_whole_or_in_chunks(house: Reading) -> None:
    before = house.leftovers()
    pieces = (b"x" * 10_000 for _ in range(40))
    path = "/library/documents?source=large.txt"
    for body in (b"x" * 400_000, pieces):
        status, message, _ = house.ask("PUT", path, body).error
        assert (status, message) == (
            413,
            "the body is larger than the limit of 300000 bytes (server.max_upload_bytes)",
        )
    assert house.leftovers() == before


def test_a_full_disk_is_told_and_leaves_nothing(house: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    before = house.leftovers()
    monkeypatch.setattr(incoming, "open", lambda *_: Full(), raising=False)
    assert house.put("/full/bees.md", BEES.encode(), "full").error == (
        507,
        "no space left for the library; free some and try again",
        None,
    )
    assert house.leftovers() == before


def test_a_library_process_that_dies_at_work_is_told_and_started_again(house: Reading) -> None:
    document = house.stored("/death/bees.md", BEES.encode(), "death")
    child = library_process(house)
    os.kill(child, signal.SIGSTOP)
    with Asking(lambda: house.ask("GET", "/library/collections")) as asking:
        until(lambda: house.house.library._calls > 0)
        os.kill(child, signal.SIGKILL)
        assert asking.reply().error == (
            503,
            "the library's process ended at work (SIGKILL); try again",
            None,
        )
    assert house.ask("GET", f"/library/documents/{document}").status == 200
    assert library_process(house) != child


def test_what_a_crash_left_half_received_goes_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "library" / "incoming" / "half"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a docu")
    with reading_house(tmp_path) as house:
        assert house.ask("GET", "/library/status").json["state"] == "asleep"
        assert house.leftovers() == set()


def test_the_description_of_the_api_names_every_route_of_the_library(house: Reading) -> None:
    paths = house.ask("GET", "/openapi.json").json["paths"]
    told = {(path, method) for path in paths for method in paths[path] if path.startswith(("/lib", "/rag"))}
    assert told == {
        ("/library/status", "get"),
        ("/library/collections", "get"),
        ("/library/documents", "get"),
        ("/library/documents", "put"),
        ("/library/documents", "post"),
        ("/library/documents/{document_id}", "get"),
        ("/library/documents/{document_id}", "delete"),
        ("/library/documents/{document_id}/pages/{number}", "get"),
        ("/library/search", "get"),
        ("/rag/query", "post"),
        ("/rag/upload", "post"),
    }


class Asking:
    """A request that waits in a thread of its own."""

    def __init__(self, ask: Callable[[], Reply]) -> None:
        self._reply: Reply | None = None
        self._thread = threading.Thread(target=self._run, args=(ask,))

    def reply(self) -> Reply:
        self._thread.join(DEADLINE_S)
        assert self._reply is not None
        return self._reply

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(DEADLINE_S)

    def _run(self, ask: Callable[[], Reply]) -> None:
        self._reply = ask()


def library_process(house: Reading) -> int:
    child = house.house.library._child
    assert child is not None
    return child._process.pid


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s"
        time.sleep(0.01)
