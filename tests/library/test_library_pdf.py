"""PDFs, made here line by line, and real ones."""

from pathlib import Path

import pytest
from tests.library.pdf_maker import Line, pdf

from casona.library.document import Document, Refused
from casona.library.load import load

BODY = 11.0


def body(*texts: str, top: float = 700.0) -> list[Line]:
    return [(text, 72.0, top - 14 * row, BODY, "F1") for row, text in enumerate(texts)]


def parts(document: Document, number: int = 1) -> list[tuple[str, str]]:
    page = document.pages[number - 1]
    return [(block.kind, page.text[block.start : block.end]) for block in page.blocks]


def read(path: Path) -> Document:
    return load(path, name=path.name)


def test_lines_become_paragraphs_and_large_type_headings(tmp_path: Path) -> None:
    page: list[Line] = [
        ("The report", 72, 780, 22, "F1"),
        ("1 Results", 72, 730, 16, "F1"),
        *body("The first paragraph has", "two lines of text.", top=700),
        *body("The second stands apart, and is longer than a heading would be.", top=650),
        ("Costs", 72, 610, BODY, "F2"),
        *body("They rose.", top=590),
    ]
    document = read(pdf(tmp_path / "a.pdf", [page]))
    assert parts(document) == [
        ("heading", "The report"),
        ("heading", "1 Results"),
        ("paragraph", "The first paragraph has\ntwo lines of text."),
        ("paragraph", "The second stands apart, and is longer than a heading would be."),
        ("heading", "Costs"),
        ("paragraph", "They rose."),
    ]
    assert [block.level for block in document.pages[0].blocks] == [1, 2, 0, 0, 3, 0]
    assert (document.title, document.language, document.media_type) == ("The report", "en", "application/pdf")


def test_a_new_column_goes_on_with_the_sentence(tmp_path: Path) -> None:
    left, right = body("A sentence that goes", "on in the"), [("next column here.", 320.0, 700.0, BODY, "F1")]
    assert parts(read(pdf(tmp_path / "a.pdf", [left + right]))) == [
        ("paragraph", "A sentence that goes\non in the\nnext column here.")
    ]


def test_list_items_stand_alone(tmp_path: Path) -> None:
    found = parts(read(pdf(tmp_path / "a.pdf", [body("We need:", "• tea", "2. coffee", "and milk")])))
    assert found == [("paragraph", "We need:"), ("item", "• tea"), ("item", "2. coffee\nand milk")]


def test_bookmarks_are_headings_where_they_are_found_and_where_not(tmp_path: Path) -> None:
    pages = [[*body("1.  Intro"), *body("words of the introduction", top=650)], body("more words")]
    marks = [("Intro", 0), ("Nowhere to be read", 1)]
    document = read(pdf(tmp_path / "a.pdf", pages, title="Told title", bookmarks=marks))
    first, second = document.pages[0].blocks[0], document.pages[1].blocks[0]
    assert (second.kind, second.title, second.start, second.end) == ("heading", "Nowhere to be read", 0, 0)
    assert (first.kind, first.title, document.title) == ("heading", "1. Intro", "Told title")


def test_running_heads_are_no_headings(tmp_path: Path) -> None:
    pages = [[("Acme Inc.", 72.0, 800.0, 18.0, "F1"), *body(f"Page {n} says something.")] for n in range(6)]
    document = read(pdf(tmp_path / "a.pdf", pages))
    assert [kind for kind, _ in parts(document)] == ["paragraph", "paragraph"]


def test_pages_without_text_are_told(tmp_path: Path) -> None:
    document = read(pdf(tmp_path / "a.pdf", [body("words"), [], []]))
    assert [page.text for page in document.pages] == ["words", "", ""]
    assert document.notes == ("2 pages have no text (pictures?): 2, 3",)


def test_too_many_pages_are_refused_with_both_numbers(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [body("words")] * 3)
    with pytest.raises(Refused, match=r"it has 3 pages, more than library.max_pages \(2\)"):
        load(path, name="a.pdf", max_pages=2)


def test_a_pdf_of_pictures_needs_ocr(shared: Path) -> None:
    with pytest.raises(Refused, match=r"no text layer.* run OCR"):
        read(shared / "data/documents/docling/ocr_test.pdf")


def test_a_password_is_named(shared: Path) -> None:
    with pytest.raises(Refused, match="protected by a password"):
        read(shared / "data/documents/sample-files/libreoffice-writer-password.pdf")


@pytest.mark.parametrize("kept", [9, 100, 1000])
def test_a_truncated_pdf_is_refused_when_it_cannot_be_opened(tmp_path: Path, shared: Path, kept: int) -> None:
    path = tmp_path / "cut.pdf"
    path.write_bytes((shared / "data/documents/sample-files/pdflatex-outline.pdf").read_bytes()[:kept])
    with pytest.raises(Refused, match=r"it is broken.* cut short"):
        read(path)


def test_hyphens_at_line_ends_are_mended(shared: Path) -> None:
    text = read(shared / "data/documents/sample-files/multicolumn.pdf").pages[0].text
    assert "consectetuer adipiscing elit" in text
    assert "metus rhoncus sem" in text
    assert "\ufffe" not in text


def test_filled_fields_and_notes_are_read(shared: Path) -> None:
    form = read(shared / "data/documents/sample-files/libreoffice-form.pdf").pages[0].text
    assert form.endswith("First Name: Alice\n\nFirst Name_2: Bob")
    annotated = read(shared / "data/documents/sample-files/annotated_pdf.pdf").pages[0].text
    assert "This is a text annotation." in annotated


def test_type_enlarged_by_the_text_matrix_is_measured_as_set(shared: Path) -> None:
    document = read(shared / "data/documents/docling/text_document_01.odt.pdf")
    titles = [block.title for block in document.pages[0].blocks if block.kind == "heading"]
    assert titles[:4] == ["Title", "Subtitle", "heading level 1.0", "Heading level 2: A"]
