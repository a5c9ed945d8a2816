"""First step of the pipeline: a file becomes a document, or is refused with the reason.

Content and name must agree: what a file is called tells its reader what it is, and a PDF called `.txt`
is a mistake to report, not to work around. Runs in a worker (workers.py), since the parsers are C code that
strangers' files are fed to.
"""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

from casona.library.document import Document, Refused

MAX_TEXT_BYTES = 128 * 2**20
"""Largest file of text read into memory. MAX_CHARS characters take no more in UTF-8."""

MAX_BLOCKS = 1_000_000
"""Most parts of a document, so that what a worker sends back fits its reader's memory."""

SNIFFED_BYTES = 4096

Loader = Callable[[Path, int], Document]


@dataclass(frozen=True, slots=True)
class Format:
    """`module` has `load(path, max_pages)`; imported when first needed, so that a worker starts fast."""

    name: str
    module: str
    content: frozenset[str]


_PDF = Format("a PDF", "pdf", frozenset({"pdf"}))
_DOCX = Format("a Word document", "docx", frozenset({"docx"}))
_TEXT = Format("plain text", "text", frozenset({"text"}))
_MARKDOWN = Format("Markdown", "markdown", frozenset({"text"}))
_HTML = Format("HTML", "html", frozenset({"text", "html"}))

FORMATS: dict[str, Format] = {
    ".pdf": _PDF,
    ".docx": _DOCX,
    ".txt": _TEXT,
    ".text": _TEXT,
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
}
"""Every extension that is taken."""

TAKEN = ".pdf, .docx, .txt, .md and .html"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"SQLite format 3\0", "a database"),
    (b"{\\rtf", "an RTF document"),
    (b"%!PS", "a PostScript document"),
)
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_HTML_START = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(?><!--.{0,2000}?-->\s*)*+<(!doctype\s+html|html)[\s>]", re.I | re.S
)
_ZIP_PARTS = (
    ("word/", "docx"),
    ("ppt/", "a PowerPoint presentation"),
    ("xl/", "an Excel workbook"),
    ("META-INF/container.xml", "an EPUB book"),
    ("content.xml", "an OpenDocument file"),
)
_NAMES = {"pdf": "a PDF", "docx": "a Word document", "html": "HTML", "text": "text"}


def load(path: Path, *, name: str, max_pages: int = 20_000) -> Document:
    """Read one document. `name` is what its owner calls it; only its extension counts.

    Raises Refused.
    """
    extension = Path(name).suffix.lower()
    form = FORMATS.get(extension)
    if form is None:
        raise Refused(f"unknown format {extension or '(no extension)'}: taken are {TAKEN}")
    content = _checked(path, form)
    if content not in form.content:
        told = _NAMES.get(content, content)
        raise Refused(
            f"its name says {form.name} ({extension}), but it is {told}; give it its right extension"
        )
    read: Loader = import_module(f"casona.library.loaders.{form.module}").load
    document = read(path, max_pages)
    if sum(len(page.blocks) for page in document.pages) > MAX_BLOCKS:
        raise Refused(f"it has more than {MAX_BLOCKS:,} paragraphs; split it into several documents")
    return document


def _checked(path: Path, form: Format) -> str:
    """What the file holds. Raises Refused for what can't be opened, is empty, or too large for its format."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Refused("it is not a file")
        if status.st_size == 0:
            raise Refused("it is empty (0 bytes)")
        if "text" in form.content and status.st_size > MAX_TEXT_BYTES:
            raise Refused(
                f"it is larger than {MAX_TEXT_BYTES // 2**20} MiB of text; split it into several documents"
            )
        with path.open("rb") as file:
            return sniff(file)
    except OSError as error:
        raise Refused(f"it cannot be read: {error.strerror}") from error


def sniff(file: BinaryIO) -> str:
    """What the bytes are: "pdf", "docx", "html", "text", or in words what else ("a PNG picture")."""
    head = file.read(SNIFFED_BYTES)
    if b"%PDF-" in head[:1024]:  # readers accept up to a kilobyte of junk before it
        return "pdf"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _inside_zip(file)
    if head.startswith(_OLE):
        return _inside_ole(file, head)
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return what
    return "html" if _HTML_START.match(head.removeprefix(b"\xef\xbb\xbf")) else "text"


def _inside_zip(file: BinaryIO) -> str:
    try:
        with ZipFile(file) as archive:
            names = set(archive.namelist())
    except (BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
        raise Refused("it is broken: a zip container (as Office files are) that cannot be opened") from error
    for part, what in _ZIP_PARTS:
        if any(member.startswith(part) for member in names):
            return what
    return "a zip archive"


def _inside_ole(file: BinaryIO, head: bytes) -> str:
    """The directory of an OLE container names its streams in UTF-16."""
    file.seek(0)
    data = file.read(8 * 2**20) if len(head) == SNIFFED_BYTES else head
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise Refused("it is protected by a password; save it without one")
    return "an Office document of before 2007"
