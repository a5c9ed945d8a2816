"""`/rag/query` and `/rag/upload` on a real house: answers that cite, files taken, files refused."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web.reading_house import (
    ABEJAS,
    BEES,
    Reading,
    encrypted,
    form,
    portable,
    reading_house,
    word,
)

from casona.web import rag

QUESTION = "How many eggs does the queen bee lay a day?"
PREGUNTA = "¿Cuántos huevos pone la abeja reina al día?"
FIELDS = "question, model, num_results, collection, stream, mode"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    with reading_house(tmp_path_factory.mktemp("rag"), server={"max_upload_bytes": 2**20}) as house:
        house.stored("/life/bees.md", BEES.encode(), "bees")
        house.stored("/life/abejas.md", ABEJAS.encode(), "abejas")
        yield house


def query(house: Reading, question: str, **more: Any) -> Any:
    reply = house.ask("POST", "/rag/query", {"question": question} | more)
    assert reply.status == 200, reply.raw
    return reply.json


def test_an_answer_without_a_model_is_quoted_and_cited(house: Reading) -> None:
    told = query(house, QUESTION, collection="bees")
    (source,) = told["sources"]
    assert told == {
        "answer": "“The queen bee lays up to two thousand eggs a day in the brood nest of the hive.” [1]",
        "sources": [source],
        "model": None,
        "mode": "extracts",
    }
    assert source.keys() == {"content", "source", "page", "start", "end", "score", "document"}
    assert (source["source"], source["page"], source["score"] > 0) == ("/life/bees.md", 1, True)
    page = house.page(source["document"], source["page"])
    assert page[source["start"] : source["end"]] == source["content"] == BEES.strip()


def test_a_spanish_question_is_answered_from_spanish_documents(house: Reading) -> None:
    told = query(house, PREGUNTA)
    assert told["answer"].startswith("“La abeja reina pone hasta dos mil huevos al día")
    assert told["sources"][0]["source"] == "/life/abejas.md"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            "Who wrote the opera about the barber of Seville?",
            "I don't have enough information in the provided documents to answer this question.",
        ),
        (
            "¿Quién compuso la ópera sobre el barbero de Sevilla?",
            "No tengo suficiente información en los documentos proporcionados para responder a esta "
            "pregunta.",
        ),
    ],
)
def test_what_the_documents_do_not_hold_is_said(house: Reading, question: str, answer: str) -> None:
    assert query(house, question) == {"answer": answer, "sources": [], "model": None, "mode": "extracts"}


def test_a_streamed_answer_begins_with_its_sources_and_ends_whole(house: Reading) -> None:
    reply = house.ask("POST", "/rag/query", {"question": QUESTION, "collection": "bees", "stream": True})
    whole = query(house, QUESTION, collection="bees")
    first, *deltas, last = reply.events
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-request-id"].startswith("req_")
    assert first == {"sources": whole["sources"], "model": None, "mode": "extracts"}
    assert "".join(delta["delta"] for delta in deltas) == whole["answer"]
    assert last == {"answer": whole["answer"], "cited": [1], "done": True}


def test_the_number_of_sources_is_what_was_asked_for(house: Reading) -> None:
    for number in range(6):
        house.stored(f"/six/{number}.md", f"Bee number {number} lays eggs every day.".encode(), "six")
    assert len(query(house, "Which bee lays eggs every day?", collection="six")["sources"]) == 4
    assert len(query(house, "Which bee lays eggs?", collection="six", num_results=2)["sources"]) == 2


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", (400, "the body is empty; a JSON object is needed", None)),
        (b"[]", (400, "the body is not a JSON object: Expected object, got array", None)),
        (
            b'{"question": "a", "top_k": 3}',
            (400, f"top_k: there is no such field; there are {FIELDS}", "top_k"),
        ),
        (b"{}", (400, "question: this field is required", "question")),
        (b'{"question": ""}', (400, "question: expected str of length >= 1", "question")),
        (b'{"question": " "}', (400, "question: must not be empty", "question")),
        (b'{"question": 7}', (400, "question: expected str, got int", "question")),
        (
            b'{"question": "a\\ud800"}',
            (400, "question: holds half of a surrogate pair, which is no character", "question"),
        ),
        (b'{"question": "a", "num_results": 0}', (400, "num_results: expected int >= 1", "num_results")),
        (b'{"question": "a", "num_results": 51}', (400, "num_results: expected int <= 50", "num_results")),
        (b'{"question": "a", "mode": "magic"}', (400, "mode: invalid enum value 'magic'", "mode")),
        (b'{"question": "a", "stream": "yes"}', (400, "stream: expected bool | null, got str", "stream")),
        (b'{"question": "a", "collection": "nope"}', (404, "there is no collection 'nope'", "collection")),
        (
            b'{"question": "a", "model": "nope", "stream": true}',
            (
                404,
                "the model 'nope' does not exist; there is none yet; `casona pull` gets one",
                "model",
            ),
        ),
        (
            b'{"question": "' + b"a" * 20_001 + b'"}',
            (400, "question: has 20001 characters and the limit is 20000", "question"),
        ),
    ],
    ids=lambda value: value.decode(errors="replace")[:40] if isinstance(value, bytes) else "",
)
def test_what_is_asked_wrongly_names_the_field(
    house: Reading, body: bytes, error: tuple[int, str, str | None]
) -> None:
    assert house.ask("POST", "/rag/query", body).error == error


def test_an_uploaded_file_can_be_asked_about(house: Reading, tmp_path: Path) -> None:
    files = {
        "wells.md": b"The oldest well of the village is ninety metres deep.",
        "carta de ñandú.docx": word(
            tmp_path / "a.docx", "El pozo más antiguo tiene noventa metros de hondo."
        ),
        "wells.pdf": portable(tmp_path / "a.pdf", "The oldest well was dug in 1312."),
    }
    for name, content in files.items():
        told = house.upload(name, content).json
        assert told == {"path": name, "outcome": "stored", "document": told["document"], "reason": ""}
        assert house.upload(name, content).json == told | {"outcome": "unchanged"}
    told = query(house, "When was the oldest well dug?", collection="default")
    assert "1312" in told["answer"]


def test_an_ordinary_key_adds_to_the_default_collection_only(house: Reading) -> None:
    key = house.make_key(name="writer")
    assert house.upload("from a key.md", b"Snow falls in winter.", key=key).status == 200
    assert house.upload("a.md", b"Snow falls.", "bees", key=key).error == (
        403,
        "this key may add documents to the collection 'default' only; others need an admin key",
        "collection",
    )


def no_text(tmp_path: Path) -> bytes:
    return portable(tmp_path / "none.pdf", "")


def bomb(tmp_path: Path) -> bytes:
    return word(tmp_path / "bomb.docx", "boom", filler=20 * 2**20)


def cut(tmp_path: Path) -> bytes:
    return portable(tmp_path / "cut.pdf", "Half of it is missing.")[:300]


def locked(tmp_path: Path) -> bytes:
    return encrypted(tmp_path / "locked.pdf")


def says(content: bytes) -> Callable[[Path], bytes]:
    return lambda _: content


PATH = "the name holds a path; send the file's own name only, such as report.pdf"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("../../etc/passwd.txt", says(b"root"), PATH),
        ("/etc/passwd.txt", says(b"root"), PATH),
        (r"C:\Users\ada\a.txt", says(b"text"), PATH),
        (r"..\a.txt", says(b"text"), PATH),
        ("..", says(b"text"), PATH),
        ("", says(b"text"), "the file has no name; its extension tells what it is"),
        ("a\0.txt", says(b"text"), "the file's name: holds control characters"),
        ("a%0A.txt", says(b"text"), "the file's name: holds control characters"),
        ("a" * 252 + ".txt", says(b"t"), "the file's name: has 256 characters and the limit is 255"),
        ("empty.txt", says(b""), "it is empty (0 bytes)"),
        (
            "a.xyz",
            says(b"text"),
            "unknown format .xyz: taken are .pdf, .docx, .txt, .md and .html",
        ),
        (
            "photo.pdf",
            says(b"\x89PNG\r\n\x1a\n"),
            "its name says a PDF (.pdf), but it is a PNG picture; give it its right extension",
        ),
        (
            "notes.docx",
            says(b"just text"),
            "its name says a Word document (.docx), but it is text; give it its right extension",
        ),
        ("bomb.docx", bomb, "it is packed more than 250 times, as no document is: a zip bomb"),
        ("cut.pdf", cut, "it is broken: not a PDF that can be opened; it may be cut short"),
        ("locked.pdf", locked, "it is protected by a password; save it without one"),
        (
            "scan.pdf",
            no_text,
            "it has no text layer: its pages are pictures; run OCR on it first",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason_and_leaves_nothing(
    house: Reading, tmp_path: Path, name: str, content: Callable[[Path], bytes], reason: str
) -> None:
    before = house.leftovers()
    assert house.upload(name, content(tmp_path)).error == (400, reason, "file")
    assert house.leftovers() == before
    assert all(one["source"] != name for one in house.ask("GET", "/library/documents").json["documents"])


MULTIPART = "send the file as multipart/form-data, in a field called file"


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"{}", "application/json", (400, MULTIPART, "file")),
        (b"", "multipart/form-data", (400, MULTIPART, "file")),
        (form(None), "multipart/form-data; boundary=b", (400, "file: this field is required", "file")),
        (
            form(None, file="text"),
            "multipart/form-data; boundary=b",
            (400, "file: is a field without a file name; send it as a file", "file"),
        ),
        (
            form(("a.txt", b"a"))[:-7] + form(("b.txt", b"b")),
            "multipart/form-data; boundary=b",
            (400, "file: send one file at a time", "file"),
        ),
        (
            form(("a.txt", b"a"), colour="red"),
            "multipart/form-data; boundary=b",
            (400, "colour: there is no such field; there are file, collection", "colour"),
        ),
        (
            form(("a.txt", b"a"), collection="c" * 5000),
            "multipart/form-data; boundary=b",
            (400, "collection: is too long", "collection"),
        ),
        (
            form(("a.txt", b"the rest is missing"))[:-9],
            "multipart/form-data; boundary=b",
            (400, "the body ends before the form does", None),
        ),
        (
            b"no form at all",
            "multipart/form-data; boundary=b",
            (400, "the body is not the form it says it is", None),
        ),
    ],
    ids=["json", "no boundary", "no file", "a field", "two files", "unknown", "long", "cut", "no form"],
)
def test_a_form_that_is_none_is_refused(
    house: Reading, body: bytes, kind: str, error: tuple[int, str, str | None]
) -> None:
    before = house.leftovers()
    assert house.send_form(body, **{"content-type": kind}).error == error
    assert house.leftovers() == before


def test_a_form_in_small_pieces_is_read_the_same(house: Reading) -> None:
    content = b"Rivers flow\r\n--bend by bend\r\n-- to the sea.\r\n" * 40
    body = form(("rivers.txt", content), collection="pieces")
    pieces = (body[start : start + 7] for start in range(0, len(body), 7))
    told = house.send_form(pieces).json
    shown = house.ask("GET", f"/library/documents/{told['document']}").json
    assert (shown["collection"], shown["size_bytes"]) == ("pieces", len(content))


def test_an_upload_beyond_the_limit_is_refused(house: Reading) -> None:
    before = house.leftovers()
    assert house.upload("large.txt", b"x" * 2**21).error == (
        413,
        "the body is larger than the limit of 1048576 bytes (server.max_upload_bytes)",
        None,
    )
    assert house.leftovers() == before


def test_a_silent_stream_is_kept_alive_with_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag, "PING_S", 0.001)
    told: list[bytes] = []

    async def events() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        async with asyncio.timeout(30):
            while told.count(rag.PING) < 2:
                await asyncio.sleep(0)
        yield b"data: 2\n\n"

    async def send(message: Any) -> None:
        told.append(message.get("body", b""))

    asyncio.run(rag.EventStream(events(), {})({"type": "http"}, None, send))  # type: ignore[arg-type]
    assert told[:2] == [b"", b"data: 1\n\n"]
    assert told[-2:] == [b"data: 2\n\n", b""]


def test_a_bug_in_mid_stream_is_told_without_its_words() -> None:
    async def broken() -> AsyncGenerator[Any, None]:
        raise ZeroDivisionError("secret")
        yield

    async def pieces() -> list[bytes]:
        first = rag.Piece("once")
        return [piece async for piece in rag._streamed(first, broken())]

    first, last = asyncio.run(pieces())
    assert first == b'data: {"delta":"once"}\n\n'
    assert json.loads(last.removeprefix(b"data: "))["error"]["message"] == rag.UNEXPECTED
