"""Word documents: headings, numbered lists, tables, text boxes, notes, headers and footers.

Read from the XML itself (docs/decisions/): python-docx leaves out list numbers, text boxes, footnotes and
content controls. Deleted and hidden text is left out; inserted text is in. Source: ECMA-376 part 1, 17.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import basename, dirname, join, normpath
from xml.etree.ElementTree import Element

from casona.library.document import Document, Refused
from casona.library.language import language_of
from casona.library.loaders.characters import clean, one_line
from casona.library.loaders.docx_lists import Lists
from casona.library.loaders.docx_names import attribute, child, children, local
from casona.library.loaders.docx_runs import TextOf
from casona.library.loaders.docx_styles import PLAIN, Style, numbering, outline_level, read_styles
from casona.library.loaders.draft import Draft
from casona.library.loaders.office import Package

_WRAPPERS = frozenset(
    ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag", "AlternateContent", "Choice")
)
_MOST_CELL_CHARS = 1500
_MARGINS = re.compile(r"(?:header|footer)\d*\.xml$")
_LONGEST_MARGIN = 1000


def load(path: Path, max_pages: int) -> Document:
    """One page: Word files do not tell where their pages end. Raises Refused."""
    with Package(path) as package:
        reader = _Reader(package)
        for element in package.elements(reader.main_part, depth=2):
            reader.add(element)
        reader.add_margins()
        page = reader.draft.page()
        title = _core_title(package) or reader.title or reader.draft.first_heading()
        notes = ("reviewers' comments are left out",) if reader.has_comments else ()
    if not page.text:
        raise Refused("it has no text: it is empty, or all pictures")
    media_type = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    return Document(
        title=title, media_type=media_type, language=language_of(page.text), pages=(page,), notes=notes
    )


class _Reader:
    """Goes through the body's elements in order and writes them into the draft."""

    def __init__(self, package: Package) -> None:
        self.draft = Draft()
        self.title = ""
        self._package = package
        self.main_part = _main_part(package)
        self._folder = dirname(self.main_part)
        self._styles = read_styles(package.tree(join(self._folder, "styles.xml")))
        self._lists = Lists(package.tree(join(self._folder, "numbering.xml")))
        self._notes = {**self._read_notes("footnote"), **self._read_notes("endnote")}
        self.has_comments = join(self._folder, "comments.xml") in package.names()

    def add(self, element: Element) -> None:
        match local(element):
            case "p":
                self._add_paragraph(element)
            case "tbl":
                self._add_table(element)
            case name if name in _WRAPPERS:
                for each in element:
                    self.add(each)

    def add_margins(self) -> None:
        """Headers and footers once each, at the end: a document's number or date may stand nowhere else."""
        seen: set[str] = set()
        for name in self._package.names():
            if dirname(name) == self._folder and _MARGINS.match(basename(name)):
                root = self._package.tree(name)
                text = one_line(clean("\n".join(_flat(root, {})))) if root is not None else ""
                if sum(map(str.isalpha, text)) > 2 and text not in seen and len(text) <= _LONGEST_MARGIN:
                    seen.add(text)
                    self.draft.add("paragraph", text)

    def _add_paragraph(self, element: Element) -> None:
        properties = child(element, "pPr")
        style = self._style(properties)
        level = outline_level(properties) or style.level
        said = TextOf(element, self._notes)
        label = self._label(properties, style) if said.text.strip() else ""
        if style.is_title and not self.title:
            self.title = one_line(clean(said.text))
        if level or style.is_title:
            self.draft.add("heading", one_line(f"{label} {said.text}"), level=level or 1)
        elif label:
            self.draft.add("item", f"{label} {said.text.strip()}")
        else:
            self.draft.add("code" if style.is_code else "paragraph", said.text)
        for box in said.boxes:
            for each in box:
                self.add(each)
        for note in said.notes:
            self.draft.add("paragraph", note)

    def _style(self, properties: Element | None) -> Style:
        named = child(properties, "pStyle") if properties is not None else None
        return self._styles.get(attribute(named, "val"), PLAIN) if named is not None else PLAIN

    def _label(self, properties: Element | None, style: Style) -> str:
        number_id, depth = numbering(properties)
        number_id = number_id or style.numbering[0]
        return self._lists.label(number_id, depth if depth >= 0 else style.numbering[1])

    def _add_table(self, table: Element) -> None:
        """Rows of `a | b`; a table that lays out a page, not data, is read as the paragraphs in it."""
        rows = [list(_cells(row)) for row in _rows(table)]
        if self._is_layout(rows):
            for row in rows:
                for cell in row:
                    for each in cell:
                        self.add(each)
            return
        lines = (
            " | ".join(one_line(clean(" ".join(_flat(cell, self._notes)))) for cell in row) for row in rows
        )
        self.draft.add("table", "\n".join(line for line in lines if line.strip(" |")))

    def _is_layout(self, rows: list[list[Element]]) -> bool:
        if all(len(row) <= 1 for row in rows):
            return True
        for row in rows:
            for cell in row:
                if any(self._is_heading(each) for each in children(cell, "p")):
                    return True
                if sum(len(text) for text in _flat(cell, {})) > _MOST_CELL_CHARS:
                    return True
        return False

    def _is_heading(self, paragraph: Element) -> bool:
        properties = child(paragraph, "pPr")
        return bool(outline_level(properties) or self._style(properties).level)

    def _read_notes(self, kind: str) -> dict[tuple[str, str], str]:
        """(kind, id) -> text. Separators are notes too, without text."""
        notes: dict[tuple[str, str], str] = {}
        for element in self._package.elements(join(self._folder, f"{kind}s.xml"), depth=1):
            text = one_line(clean(" ".join(_flat(element, {}))))
            if text:
                notes[kind, attribute(element, "id")] = text
        return notes


def _rows(table: Element) -> Iterator[Element]:
    for each in table:
        if local(each) == "tr":
            yield each
        elif local(each) in _WRAPPERS:
            yield from _rows(each)


def _cells(row: Element) -> Iterator[Element]:
    for each in row:
        if local(each) == "tc":
            yield each
        elif local(each) in _WRAPPERS:
            yield from _cells(each)


def _flat(element: Element, notes: dict[tuple[str, str], str]) -> Iterator[str]:
    """The texts of all paragraphs within, tables and boxes included."""
    for each in element:
        if local(each) == "p":
            said = TextOf(each, notes)
            yield said.text
            for box in said.boxes:
                yield from _flat(box, notes)
            yield from said.notes
        else:
            yield from _flat(each, notes)


def _main_part(package: Package) -> str:
    """The part that the package's relations name as its document."""
    relations = package.tree("_rels/.rels")
    for each in relations if relations is not None else ():
        if attribute(each, "Type").endswith("/officeDocument"):
            return normpath(attribute(each, "Target").lstrip("/"))
    if "word/document.xml" in package.names():
        return "word/document.xml"
    raise Refused("it is broken: a Word file without its document part")


def _core_title(package: Package) -> str:
    root = package.tree("docProps/core.xml")
    title = child(root, "title") if root is not None else None
    return one_line(clean(title.text or "")) if title is not None else ""
