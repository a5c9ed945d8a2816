"""PDF by PDFium: the text of each page, its paragraphs, and headings from the bookmarks or the type.

PDFium gives the characters in the order in which the file draws them. Where each line starts, how large
and how bold it is set, tells paragraphs and headings apart; asked once a line, not once a character, that
costs little.
PDFium is not thread-safe: this runs in a process of its own (workers.py).
"""

import ctypes
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from casona.library.document import Document, Page, Refused
from casona.library.language import language_of
from casona.library.loaders.characters import clean, one_line
from casona.library.loaders.draft import refuse_too_long
from casona.library.loaders.outline import Bookmark, with_headings
from casona.library.loaders.typeset import Line, Typeset, compose

_PASSWORD_ERROR = 4
_MAX_BOOKMARKS = 10_000
_MAX_ANNOTATIONS = 2_000
_ANNOTATION_TEXT_BYTES = 65_536
_FEWEST_LEGIBLE = 0.5
_LETTER = re.compile(r"[^\W_]")
_BOLD = 600
_BOLD_NAME = re.compile(rb"bold|black|heavy|cmbx|sfbx", re.I)


def load(path: Path, max_pages: int) -> Document:
    """Raises Refused for a password, a broken file, too many pages, or no text."""
    pdf = _open(path)
    try:
        count = len(pdf)
        if count > max_pages:
            raise Refused(f"it has {count:,} pages, more than library.max_pages ({max_pages:,}); split it")
        set_pages, unread = _read_pages(pdf, count)
        _refuse_textless(set_pages, unread, count)
        pages = with_headings(set_pages, _bookmarks(pdf))
        title = _title(pdf, pages)
    finally:
        pdf.close()
    language = language_of("\n".join(page.text[:1000] for page in pages[:50]))
    notes = (
        *_note("could not be read", unread),
        *_note("have no text (pictures?)", _textless(set_pages, unread)),
    )
    return Document(title=title, media_type="application/pdf", language=language, pages=pages, notes=notes)


def _open(path: Path) -> Any:
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if error.err_code == _PASSWORD_ERROR:
            raise Refused("it is protected by a password; save it without one") from error
        raise Refused("it is broken: not a PDF that can be opened; it may be cut short") from error
    if len(pdf) == 0:
        raise Refused("it is broken: it has no pages; it may be cut short")
    return pdf


def _read_pages(pdf: Any, count: int) -> tuple[list[Typeset], list[int]]:
    """Every page, and the numbers of those that could not be read; these are empty."""
    import pypdfium2

    pages, unread, chars = [], [], 0
    for index in range(count):
        try:
            page = _read_page(pdf, index)
        except pypdfium2.PdfiumError:
            page = Typeset(number=index + 1, text="", paragraphs=())
            unread.append(index + 1)
        pages.append(page)
        chars += len(page.text)
        refuse_too_long(chars)
    return pages, unread


def _read_page(pdf: Any, index: int) -> Typeset:
    page = pdf[index]
    try:
        text_page = page.get_textpage()
        try:
            lines = list(_lines(text_page.raw))
        finally:
            text_page.close()
        return compose(index + 1, lines, list(_annotations(page.raw)))
    finally:
        page.close()


def _lines(text_page: Any) -> Iterator[Line]:
    """The page's lines as PDFium tells them, with where and how each is set."""
    import pypdfium2.raw as c

    count = c.FPDFText_CountChars(text_page)
    if count <= 0:
        return
    units = (ctypes.c_ushort * (count + 1))()
    c.FPDFText_GetText(text_page, 0, count, units)
    raw = bytes(units)[: 2 * count]
    x, y = ctypes.c_double(), ctypes.c_double()
    start = 0
    for piece in raw.decode("utf-16-le", "surrogatepass").split("\n"):
        length = (
            len(piece) + sum(character > "\uffff" for character in piece)
            if not piece.isascii()
            else len(piece)
        )
        first = start + length - len(piece.lstrip())
        start += length + 1
        body = piece.strip("\r\0 \t")
        if not body:
            continue
        c.FPDFText_GetCharOrigin(text_page, first, x, y)
        left, top = x.value, y.value
        if "\ufffe" in body:  # a hyphen at a line's end: PDFium tells both lines as one
            c.FPDFText_GetCharOrigin(text_page, first + len(body) - 1, x, y)
        letter = (
            first + found.start() if (found := _LETTER.search(body)) else first
        )  # a bullet is set as it likes
        yield Line(
            text=body,
            left=left,
            top=top,
            bottom=y.value,
            size=_size(text_page, letter),
            bold=_is_bold(text_page, letter),
        )


def _size(text_page: Any, index: int) -> float:
    """Points on the page: many writers set type of size 1 and enlarge it by the text matrix."""
    import pypdfium2.raw as c

    matrix = c.FS_MATRIX()
    size: float = c.FPDFText_GetFontSize(text_page, index)
    if not c.FPDFText_GetMatrix(text_page, index, matrix):
        return size
    return size * math.hypot(matrix.c, matrix.d)


def _is_bold(text_page: Any, index: int) -> bool:
    import pypdfium2.raw as c

    weight = c.FPDFText_GetFontWeight(text_page, index)
    if weight > 0:
        return bool(weight >= _BOLD)
    name, flags = ctypes.create_string_buffer(64), ctypes.c_int()
    c.FPDFText_GetFontInfo(text_page, index, name, len(name), flags)
    return bool(_BOLD_NAME.search(name.raw))


def _annotations(page: Any) -> Iterator[str]:
    """What has been written upon the page: filled fields as `name: value`, and notes."""
    import pypdfium2.raw as c

    for index in range(min(c.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        annotation = c.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        kind = c.FPDFAnnot_GetSubtype(annotation)
        if kind == c.FPDF_ANNOT_WIDGET:
            name, value = _written(annotation, b"T"), _written(annotation, b"V")
            if value and value != "Off":
                yield f"{name}: {value}" if name else value
        elif kind not in (c.FPDF_ANNOT_LINK, c.FPDF_ANNOT_POPUP) and (
            text := _written(annotation, b"Contents")
        ):
            yield text
        c.FPDFPage_CloseAnnot(annotation)


def _written(annotation: Any, key: bytes) -> str:
    import pypdfium2.raw as c

    size = c.FPDFAnnot_GetStringValue(annotation, key, None, 0)
    if not 2 < size <= _ANNOTATION_TEXT_BYTES:
        return ""
    units = (ctypes.c_ushort * (size // 2))()
    c.FPDFAnnot_GetStringValue(annotation, key, units, size)
    return one_line(clean(bytes(units).decode("utf-16-le", "replace").rstrip("\0")))


def _bookmarks(pdf: Any) -> list[Bookmark]:
    import pypdfium2

    found: list[Bookmark] = []
    try:
        for bookmark in pdf.get_toc(max_depth=8):
            target = bookmark.get_dest()
            title = one_line(clean(bookmark.get_title() or ""))
            index = target.get_index() if target else None
            if title and index is not None and index >= 0:
                found.append(Bookmark(title=title, level=bookmark.level + 1, page=index + 1))
            if len(found) >= _MAX_BOOKMARKS:
                break
    except pypdfium2.PdfiumError:
        pass  # a broken outline spoils headings, not the text
    return found


def _title(pdf: Any, pages: tuple[Page, ...]) -> str:
    """The file's own title unless it says nothing, else the first heading."""
    told = one_line(clean(pdf.get_metadata_value("Title") or ""))
    if (
        told
        and told.lower() not in ("untitled", "title")
        and not told.lower().startswith("microsoft word - ")
    ):
        return told
    headings = (block.title for page in pages[:5] for block in page.blocks if block.kind == "heading")
    return next(headings, told)


def _refuse_textless(pages: list[Typeset], unread: list[int], count: int) -> None:
    if len(unread) == count:
        raise Refused("it is broken: none of its pages can be read")
    letters = illegible = 0
    for page in pages:
        letters += sum(map(str.isalnum, page.text))
        illegible += sum(
            character == "\ufffd" or "\ue000" <= character <= "\uf8ff" for character in page.text
        )
    if not letters and not illegible:
        raise Refused("it has no text layer: its pages are pictures; run OCR on it first")
    if letters < _FEWEST_LEGIBLE * (letters + illegible):
        raise Refused(
            "its text layer cannot be read: its fonts do not tell their characters; run OCR on it first"
        )


def _textless(pages: list[Typeset], unread: list[int]) -> list[int]:
    return [page.number for page in pages if not page.text and page.number not in set(unread)]


def _note(what: str, numbers: list[int]) -> tuple[str, ...]:
    if not numbers:
        return ()
    shown = ", ".join(map(str, numbers[:20])) + (", …" if len(numbers) > 20 else "")
    return (f"{len(numbers)} pages {what}: {shown}",)
