"""HTML is read as people see it."""

from pathlib import Path

import pytest

from casona.library.document import Document, Refused
from casona.library.load import load


def read(folder: Path, source: str | bytes) -> Document:
    path = folder / "page.html"
    path.write_bytes(source.encode() if isinstance(source, str) else source)
    return load(path, name="page.html")


def parts(document: Document) -> list[tuple[str, str]]:
    (page,) = document.pages
    return [(block.kind, page.text[block.start : block.end]) for block in page.blocks]


PAGE = """<!doctype html><html lang="en"><head><title>The  title</title><style>p {}</style></head>
<body><nav><a href="/">Home</a></nav><script>alert("no")</script>
<h1>Top &amp; <em>more</em></h1><p>One <b>bo</b>ld word,<br>next line.&nbsp;End.
<p hidden>secret</p><div style="display: none">secret</div><span aria-hidden="true">secret</span>
<ul><li>a<ul><li>b</ul><li>c <img src=x alt="a picture"></ul>
<ol start="3"><li>three<p>and more</p><li>four</ol>
<table><caption>Prices</caption><tr><th>Tea</th><th>2 €</th></tr><tr><td>Coffee<td>3 €</table>
<pre>def f():
    return 1</pre>
<template>secret</template><noscript>secret</noscript>loose text</body></html>"""


def test_a_page_is_read_as_people_see_it(tmp_path: Path) -> None:
    document = read(tmp_path, PAGE)
    assert parts(document) == [
        ("heading", "Top & more"),
        ("paragraph", "One bold word,\nnext line. End."),
        ("item", "- a"),
        ("item", "- b"),
        ("item", "- c a picture"),
        ("item", "3. three"),
        ("item", "and more"),
        ("item", "4. four"),
        ("table", "Prices\nTea | 2 €\nCoffee | 3 €"),
        ("code", "def f():\n    return 1"),
        ("paragraph", "loose text"),
    ]
    assert (document.title, document.language) == ("The title", "en")


def test_a_table_that_lays_out_a_page_is_read_as_its_parts(tmp_path: Path) -> None:
    source = "<table><tr><td><h2>Left</h2>text<td><table><tr><td>1<td>2</table></table>"
    assert parts(read(tmp_path, source)) == [("heading", "Left"), ("paragraph", "text"), ("table", "1 | 2")]


@pytest.mark.parametrize(
    "source",
    [
        '<meta charset="iso-8859-15"><p>señor €'.encode("iso-8859-15"),
        '<meta http-equiv=Content-Type content="text/html; charset=iso-8859-15"><p>señor €'.encode(
            "iso-8859-15"
        ),
        "<p>señor €".encode("utf-16"),
        "<p>señor €".encode(),
        '<meta charset="iso-8859-15"><p>señor €'.encode(),
        "<p>señor €".encode("cp1252"),
    ],
)
def test_the_character_set_is_found(tmp_path: Path, source: bytes) -> None:
    assert read(tmp_path, source).pages[0].text == "señor €"


@pytest.mark.parametrize("source", ["<script>document.write('x')</script>", "<p></p>", "<!-- only this -->"])
def test_a_page_without_words_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(Refused, match=r"no text of its own|no markup"):
        read(tmp_path, source)


def test_text_without_markup_is_no_html(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no markup"):
        read(tmp_path, "1 < 2 and nothing else")


def test_absurd_nesting_is_refused_before_it_costs_time(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nested more than 1000 deep"):
        read(tmp_path, "<div>" * 200_000 + "x")


def test_deep_but_sane_nesting_and_unclosed_paragraphs_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "<div>" * 900 + "deep" + "</div>" * 900).pages[0].text == "deep"
    many = read(tmp_path, "<p>x" * 6000).pages[0]
    assert len(many.blocks) == 6000
