"""Plain text and Markdown are stored as they are written, in one form of characters."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casona.library.document import Document, Refused
from casona.library.load import load
from casona.library.loaders.characters import clean, decode


def read(folder: Path, text: str | bytes, name: str) -> Document:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, name=name)


def parts(document: Document) -> list[tuple[str, str]]:
    (page,) = document.pages
    return [(block.kind, page.text[block.start : block.end]) for block in page.blocks]


def headings(document: Document) -> list[tuple[int, str]]:
    return [(each.level, each.title) for each in document.pages[0].blocks if each.kind == "heading"]


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("e\u0301 n\u0303", "é ñ"),
        ("ﬁnal o\ufb03ce", "final office"),
        ("in\xadvisible zero\u200bwidth \ufeffmark", "invisible zerowidth mark"),
        ("nul\x00 bell\x07 delete\x7f", "nul bell delete"),
        ("no\xa0break\tTab", "no break\tTab"),
        ("lone \ud800 surrogate \uffff", "lone \ufffd surrogate \ufffd"),
        ("👩‍👩‍👧 stays", "👩‍👩‍👧 stays"),
    ],
)
def test_characters_are_stored_in_one_form(raw: str, stored: str) -> None:
    assert clean(raw) == stored


@given(st.text(st.characters(exclude_categories=())))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode()


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "utf-16-le", "utf-16-be"]
)
def test_common_encodings_are_recognised(encoding: str) -> None:
    text = "El año pasado, «según» la oficina, hubo más canción."
    assert decode(text.encode(encoding)) == text


def test_what_is_declared_counts_only_where_utf8_does_not_fit() -> None:
    assert decode("слово".encode("koi8-r"), declared="koi8-r") == "слово"
    assert decode("слово".encode(), declared="koi8-r") == "слово"
    assert decode(b"caf\xe9", declared="no-such-encoding") == "café"


def test_utf8_cut_in_its_last_character_stays_utf8() -> None:
    assert decode("sí, señor €".encode()[:-1]) == "sí, señor \ufffd"


@pytest.mark.parametrize(
    "data", [b"abc\x00\x01\x02\x00def", b"\xff\xfe\x01\x02\x03"[2:] * 50 + b"\xff", bytes(64)]
)
def test_binary_data_is_no_text(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Refused, match="not text"):
        read(tmp_path, data, "data.txt")


def test_text_of_white_space_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="it has no text"):
        read(tmp_path, " \n\t\r\n\u00a0", "blank.txt")


def test_plain_text_has_paragraphs_and_headings(tmp_path: Path) -> None:
    text = "ANNUAL REPORT\n\nFirst line\nsecond line.\n\n  \nChapter 2\n\nTitle\n=====\n\nEnd."
    document = read(tmp_path, text, "report.txt")
    assert parts(document) == [
        ("heading", "ANNUAL REPORT"),
        ("paragraph", "First line\nsecond line."),
        ("heading", "Chapter 2"),
        ("heading", "Title\n====="),
        ("paragraph", "End."),
    ]
    assert (document.title, document.media_type) == ("ANNUAL REPORT", "text/plain")


MARKDOWN = """---
title: "The handbook"
tags: [a]
---
# First *chapter* #

Intro with a [link](https://example.org)
over two lines.

Second title
------------

- one
- two
  goes on
1. three

| a | b |
|---|---|
| 1 | 2 |

```python
# no heading

x = 1
```
### [Deep](x) `code`
"""


def test_markdown_keeps_its_text_and_tells_its_structure(tmp_path: Path) -> None:
    document = read(tmp_path, MARKDOWN, "handbook.md")
    assert document.pages[0].text == MARKDOWN
    assert document.title == "The handbook"
    assert headings(document) == [(1, "First chapter"), (2, "Second title"), (3, "Deep code")]
    assert [kind for kind, _ in parts(document)] == [
        *("code", "heading", "paragraph", "heading", "item", "item", "item", "table", "code", "heading")
    ]
    assert ("code", "```python\n# no heading\n\nx = 1\n```") in parts(document)
    assert ("item", "- two\n  goes on") in parts(document)


def test_an_open_fence_runs_to_the_end(tmp_path: Path) -> None:
    assert parts(read(tmp_path, "~~~\n# not a heading\n\nmore", "a.md")) == [
        ("code", "~~~\n# not a heading\n\nmore")
    ]
