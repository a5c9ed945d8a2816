"""Word documents, built here part by part, and real ones."""

import zipfile
from pathlib import Path

import pytest

from casona.library.document import Document, Refused
from casona.library.load import load
from casona.library.loaders import office

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
STYLES = f"""<w:styles {W}>
<w:style w:styleId="Base"><w:name w:val="heading 2"/></w:style>
<w:style w:styleId="Mine"><w:name w:val="My style"/><w:basedOn w:val="Base"/></w:style>
<w:style w:styleId="Loop"><w:name w:val="Loop"/><w:basedOn w:val="Loop"/></w:style>
<w:style w:styleId="Code"><w:name w:val="Source Code"/></w:style></w:styles>"""
NUMBERING = f"""<w:numbering {W}><w:abstractNum w:abstractNumId="0">
<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>
<w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%1.%2)"/></w:lvl>
</w:abstractNum><w:num w:numId="7"><w:abstractNumId w:val="0"/></w:num>
<w:num w:numId="8"><w:abstractNumId w:val="0"/>
<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride></w:num></w:numbering>"""


def word(folder: Path, body: str, **parts: str) -> Path:
    path = folder / "letter.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f"<w:document {W} {M}><w:body>{body}</w:body></w:document>")
        for name, text in {"styles": STYLES, "numbering": NUMBERING, **parts}.items():
            archive.writestr(f"word/{name}.xml", text)
    return path


def p(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def item(text: str, number: int, level: int) -> str:
    return p(text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')


def parts(document: Document) -> list[tuple[str, str]]:
    (page,) = document.pages
    return [(block.kind, page.text[block.start : block.end]) for block in page.blocks]


def read(folder: Path, body: str, **more: str) -> list[tuple[str, str]]:
    return parts(load(word(folder, body, **more), name="letter.docx"))


def test_headings_come_from_styles_and_outline_levels(tmp_path: Path) -> None:
    body = (
        p("Styled", '<w:pStyle w:val="Mine"/>')
        + p("Outlined", '<w:outlineLvl w:val="0"/>')
        + p("Body", '<w:pStyle w:val="Loop"/>')
    )
    document = load(word(tmp_path, body), name="letter.docx")
    assert parts(document) == [("heading", "Styled"), ("heading", "Outlined"), ("paragraph", "Body")]
    assert [block.level for block in document.pages[0].blocks] == [2, 1, 0]


def test_lists_are_counted_as_word_counts_them(tmp_path: Path) -> None:
    body = "".join(
        [item("a", 7, 0), item("b", 7, 1), item("c", 7, 1), item("d", 7, 0), item("e", 7, 1), item("f", 8, 0)]
    )
    assert [text for _, text in read(tmp_path, body)] == [
        "1. a",
        "1.a) b",
        "1.b) c",
        "2. d",
        "2.a) e",
        "5. f",
    ]


def test_tables_are_rows_and_layout_tables_are_paragraphs(tmp_path: Path) -> None:
    def table(*rows: list[str]) -> str:
        cells = ("".join(f"<w:tc>{p(text)}</w:tc>" for text in row) for row in rows)
        return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"

    body = table(["Tea", "2"], ["Coffee", "3"]) + table(["only"], ["one column"])
    assert read(tmp_path, body) == [
        ("table", "Tea | 2\nCoffee | 3"),
        ("paragraph", "only"),
        ("paragraph", "one column"),
    ]


def test_deleted_and_hidden_text_is_left_out_and_inserted_is_in(tmp_path: Path) -> None:
    body = (
        "<w:p><w:r><w:t>kept </w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r></w:p>"
    )
    assert read(tmp_path, body) == [("paragraph", "kept new")]


def test_text_boxes_notes_headers_and_formulas_are_read(tmp_path: Path) -> None:
    box = f"<w:drawing><w:txbxContent>{p('in the box')}</w:txbxContent></w:drawing>"
    twice = f'<mc:AlternateContent xmlns:mc="x"><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>'
    body = (
        f'<w:p><w:r><w:t>text</w:t>{twice}</mc:AlternateContent><w:footnoteReference w:id="2"/></w:r></w:p>'
        "<w:p><m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>"
        "</m:oMath></w:p>"
    )
    notes = f'<w:footnotes {W}><w:footnote w:id="2">{p("a note")}</w:footnote></w:footnotes>'
    header = f"<w:hdr {W}>{p('Order 4711')}</w:hdr>"
    assert [text for _, text in read(tmp_path, body, footnotes=notes, header1=header, header2=header)] == [
        *("text", "in the box", "a note", "(a+b)/2", "Order 4711")
    ]


def test_code_lines_stay_together(tmp_path: Path) -> None:
    code = '<w:pStyle w:val="Code"/>'
    document = load(word(tmp_path, p("x = 1", code) + p("y = 2", code)), name="letter.docx")
    assert document.pages[0].text == "x = 1\ny = 2"


def test_an_entity_bomb_is_refused(tmp_path: Path) -> None:
    bomb = f'<!DOCTYPE x [<!ENTITY a "ha">]><w:styles {W}>&a;</w:styles>'
    with pytest.raises(Refused, match="not plain UTF-8 XML"):
        read(tmp_path, p("x"), styles=bomb)


def test_a_part_of_nothing_but_comments_is_refused_at_once(tmp_path: Path) -> None:
    path = word(tmp_path, p("Hello"), styles="<!-- -->" * 100 + "text")
    with pytest.raises(Refused, match="not plain UTF-8 XML"):
        load(path, name="a.docx")


def test_a_zip_bomb_is_refused_unopened(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="packed more than 250 times"):
        read(tmp_path, " " * (office.RATIO_FROM_BYTES + 1))


def test_absurdly_nested_xml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nested too deep"):
        read(tmp_path, "<w:sdt>" * 1000 + "</w:sdt>" * 1000)


@pytest.mark.parametrize("body", ["", "<w:p/>", "<w:p><w:r><w:drawing/></w:r></w:p>"])
def test_a_document_without_words_is_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(Refused, match="it has no text"):
        read(tmp_path, body)


def test_broken_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not well-formed XML"):
        read(tmp_path, "<w:p>")
    path = word(tmp_path, p("x" * 5000))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Refused, match="cannot be opened"):
        load(path, name="letter.docx")


def test_the_strict_form_is_read_like_the_transitional(shared: Path) -> None:
    folder = shared / "data/documents/docling"
    texts = [load(folder / name, name=name).pages[0].text for name in ("Strict.docx", "Transitional.docx")]
    assert texts[0] == texts[1] != ""
