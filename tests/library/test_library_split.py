"""Passages: exact, complete, of bounded size, cut where it hurts least."""

import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casona.library.document import Block, Document, Page, Refused
from casona.library.load import load
from casona.library.sentences import sentences
from casona.library.split import Passage, split


def document(*pages: Page) -> Document:
    return Document(title="", media_type="text/plain", language="en", pages=pages)


def plain(text: str) -> Document:
    return document(Page(number=1, text=text, blocks=(Block(kind="paragraph", start=0, end=len(text)),)))


def texts(source: Document, *, size: int, overlap: int = 0) -> list[str]:
    return [passage.text for passage in split(source, size=size, overlap=overlap)]


def hold(source: Document, passages: list[Passage], size: int) -> None:
    """The promises of `split`."""
    pages = {page.number: page.text for page in source.pages}
    covered = {number: [character.isspace() for character in text] for number, text in pages.items()}
    for passage in passages:
        assert pages[passage.page][passage.start : passage.end] == passage.text
        assert 0 < len(passage.text) <= size
        assert passage.text == passage.text.strip()
        covered[passage.page][passage.start : passage.end] = [True] * len(passage.text)
    assert all(all(page) for page in covered.values())


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Pages whose blocks, of any kind, cover any part of any text."""
    pages = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        words = st.one_of(
            st.text("ab .\n!é語\u0301\u200d👩🏽🇪🇸|", max_size=40), st.just("Word. "), st.just("\n\n")
        )
        text = "".join(draw(st.lists(words, max_size=12)))
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
        blocks = [
            Block(
                kind=draw(st.sampled_from(["heading", "paragraph", "item", "table", "code"])),
                start=a,
                end=b,
                level=1,
            )
            for a, b in zip(cuts[::2], cuts[1::2], strict=False)
        ]
        pages.append(Page(number=number, text=text, blocks=tuple(blocks)))
    return document(*pages)


@given(documents(), st.integers(1, 60), st.data())
def test_passages_are_exact_and_complete_for_any_document(
    source: Document, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    passages = list(split(source, size=size, overlap=overlap))
    hold(source, passages, size)
    for first, second in pairwise(passages):
        if first.page == second.page:
            assert first.start < second.start
            assert first.end - second.start <= overlap


def test_passages_of_real_documents_are_exact_and_complete(shared: Path) -> None:
    for path in sorted((shared / "data/documents").rglob("*.docx")) + sorted((shared / "data").rglob("*.md")):
        try:
            source = load(path, name=path.name)
        except Refused:
            continue
        hold(source, list(split(source, size=400, overlap=80)), 400)


@pytest.mark.parametrize(("size", "overlap"), [(10, 10), (10, 11), (10, -1), (0, 0)])
def test_impossible_sizes_are_an_error(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="need 0 <= overlap < size"):
        list(split(plain("x"), size=size, overlap=overlap))


def test_a_cut_falls_at_the_end_of_a_sentence() -> None:
    source = plain("The first sentence is here. The second one, by Dr. Who, goes on and on. Third.")
    assert texts(source, size=45) == [
        "The first sentence is here.",
        "The second one, by Dr. Who, goes on and on.",
        "Third.",
    ]


def test_a_cut_falls_between_paragraphs_rather_than_sentences() -> None:
    text = "One. Two.\n\nThree. Four. Five."
    blocks = (Block(kind="paragraph", start=0, end=9), Block(kind="paragraph", start=11, end=len(text)))
    assert texts(document(Page(number=1, text=text, blocks=blocks)), size=17) == [
        "One. Two.",
        "Three. Four.",
        "Five.",
    ]


def test_neighbours_share_whole_sentences() -> None:
    source = plain("Alpha beta gamma. Delta one. Epsilon zeta eta. Theta iota kappa.")
    assert texts(source, size=48, overlap=20) == [
        "Alpha beta gamma. Delta one. Epsilon zeta eta.",
        "Epsilon zeta eta. Theta iota kappa.",
    ]


def test_a_table_that_fits_is_kept_together() -> None:
    lead, table = "Some words before it. And more.", "a | b\n1 | 2\n3 | 4\n5 | 6"
    text = f"{lead}\n\n{table}\n\nAfter."
    start = len(lead) + 2
    blocks = (
        Block(kind="paragraph", start=0, end=len(lead)),
        Block(kind="table", start=start, end=start + len(table)),
        Block(kind="paragraph", start=start + len(table) + 2, end=len(text)),
    )
    assert texts(document(Page(number=1, text=text, blocks=blocks)), size=40, overlap=18) == [
        lead,
        f"{table}\n\nAfter.",
    ]


def test_a_table_that_fits_is_not_cut_for_the_few_words_before_it() -> None:
    table = "a | b\n1 | 2\n3 | 4\n5 | 6\n7 | 8"
    blocks = (Block(kind="paragraph", start=0, end=6), Block(kind="table", start=8, end=8 + len(table)))
    page = Page(number=1, text=f"Table:\n\n{table}", blocks=blocks)
    assert texts(document(page), size=32) == ["Table:", table]


def test_text_before_the_first_heading_is_a_section_of_its_own() -> None:
    text = "Preamble.\n\nHead\n\nBody."
    page = Page(number=1, text=text, blocks=(Block(kind="heading", start=11, end=15, level=1, title="Head"),))
    assert [(each.text, each.heading) for each in split(document(page), size=100, overlap=0)] == [
        ("Preamble.", ()),
        ("Head\n\nBody.", ("Head",)),
    ]


def test_a_table_that_does_not_fit_is_cut_between_rows() -> None:
    text = "\n".join(f"row {n} | value {n}" for n in range(20))
    source = document(Page(number=1, text=text, blocks=(Block(kind="table", start=0, end=len(text)),)))
    assert all(passage.startswith("row ") and passage[-1].isdigit() for passage in texts(source, size=60))


def test_headings_make_sections_and_their_path_goes_on_over_pages() -> None:
    def page(number: int, *parts: tuple[int, str]) -> Page:
        blocks, text = [], ""
        for level, words in parts:
            start = len(text)
            text += words + "\n\n"
            kind, end = ("heading" if level else "paragraph"), start + len(words)
            blocks.append(Block(kind=kind, start=start, end=end, level=level, title=words if level else ""))  # type: ignore[arg-type]
        return Page(number=number, text=text, blocks=tuple(blocks))

    source = document(
        page(1, (1, "Guide"), (2, "Setup"), (0, "Do this."), (2, "Use"), (0, "Do that.")),
        page(2, (0, "And more."), (1, "End"), (0, "Bye.")),
    )
    assert [(passage.text, passage.heading) for passage in split(source, size=100, overlap=20)] == [
        ("Guide\n\nSetup\n\nDo this.", ("Guide", "Setup")),
        ("Use\n\nDo that.", ("Guide", "Use")),
        ("And more.", ("Guide", "Use")),
        ("End\n\nBye.", ("End",)),
    ]


def test_a_bookmark_without_text_names_its_section() -> None:
    page = Page(
        number=1, text="Words.", blocks=(Block(kind="heading", start=0, end=0, level=1, title="Mark"),)
    )
    (passage,) = split(document(page), size=100, overlap=0)
    assert (passage.text, passage.heading) == ("Words.", ("Mark",))


@pytest.mark.parametrize("unit", ["語", "x", "e\u0301", "👩🏽", "🇪🇸", "👨‍👩‍👧"])
def test_unbroken_text_is_cut_between_whole_characters(unit: str) -> None:
    for passage in texts(plain(unit * 200), size=50, overlap=7):
        first = passage[0]
        assert not unicodedata.combining(first)
        assert first not in "\u200d🏽"
        assert passage[-1] != "\u200d"
        assert sum("🇦" <= character <= "🇿" for character in passage) % 2 == 0


def test_sentences_are_found_in_english_and_spanish() -> None:
    text = (
        "¿Quién fue? El Sr. Pérez, p. ej., vivió en EE. UU. hasta 1950. He said no. “No.” Version 3.5, "
        "No. 7 of J. Doe…\n\nNo stop"
    )
    assert [text[start:end] for start, end in sentences(text)] == [
        "¿Quién fue?",
        "El Sr. Pérez, p. ej., vivió en EE. UU. hasta 1950.",
        "He said no.",
        "“No.”",
        "Version 3.5, No. 7 of J. Doe…",
        "No stop",
    ]
