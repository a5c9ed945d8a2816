"""The two sets of questions, as contents to search and passages to find."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casona.library.document import Document, Page
from casona.library.split import split
from casona.records.library import NewContent
from casona.settings import Library

Heading = tuple[str, ...]


@dataclass(frozen=True)
class Questions:
    """Contents to search, and questions with the places of the passages relevant to each."""

    language: str
    contents: Iterable[NewContent]
    asked: Sequence[tuple[str, frozenset[int]]]


def squad_es(data: Path) -> Questions:
    """Spanish; relevant is one paragraph, kept whole, with its article's title."""
    corpus = list(_lines(data / "squad-es/corpus.jsonl"))
    places = {paragraph["id"]: place for place, paragraph in enumerate(corpus)}
    asked = [
        (each["text"], frozenset(places[id_] for id_ in each["relevant"]))
        for each in _lines(data / "squad-es/queries.jsonl")
    ]
    contents = [
        content(each["text"], "es", [(1, 0, len(each["text"]), ())], each["title"].replace("_", " "))
        for each in corpus
    ]
    return Questions("es", contents, asked)


def chunking_en(data: Path) -> Questions:
    """English, five texts split as documents are; relevant is every passage with a part of the evidence."""
    contents: list[NewContent] = []
    places: list[tuple[str, int, int]] = []
    for file in sorted((data / "chunking-en/corpora").glob("*.md")):
        text = file.read_bytes().decode()  # as it is: the evidence is told by offsets
        cut = passages(text, "en")
        contents.append(content(text, "en", cut))
        places += [(file.stem, start, end) for _, start, end, _ in cut]
    asked = []
    for each in _lines(data / "chunking-en/questions.jsonl"):
        spans = [(span["start"], span["end"]) for span in each["spans"]]
        relevant = (
            place
            for place, (corpus, start, end) in enumerate(places)
            if corpus == each["corpus"] and any(start < last and first < end for first, last in spans)
        )
        asked.append((each["question"], frozenset(relevant)))
    return Questions("en", contents, asked)


SETS = {"squad-es": squad_es, "chunking-en": chunking_en}


def passages(text: str, language: str) -> list[tuple[int, int, int, Heading]]:
    settings = Library()
    document = Document(
        title="", media_type="text/plain", language=language, pages=(Page(number=1, text=text),)
    )
    cut = split(document, size=settings.passage_chars, overlap=settings.overlap_chars)
    return [(each.page, each.start, each.end, each.heading) for each in cut]


def content(
    text: str, language: str, cut: Sequence[tuple[int, int, int, Heading]], title: str = ""
) -> NewContent:
    return NewContent(
        hash="",
        recipe="",
        title=title,
        media_type="text/plain",
        language=language,
        size_bytes=len(text.encode()),
        pages=[(1, text)],
        passages=cut,
    )


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
