"""Every file is taken, or refused with a reason that its owner can act on."""

import re
import zipfile
from pathlib import Path

import pytest

from casona.library.document import Refused
from casona.library.load import FORMATS, load


def refusal(path: Path, name: str) -> str:
    with pytest.raises(Refused) as caught:
        load(path, name=name)
    assert caught.value.param == "file"
    return caught.value.reason


def written(folder: Path, data: bytes) -> Path:
    path = folder / "upload"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["table.csv", "mail.EML", "slides.pptx", "book.epub", "paper.odt"])
def test_other_formats_are_unknown_and_the_known_ones_named(tmp_path: Path, name: str) -> None:
    extension = Path(name).suffix.lower()
    told = f"unknown format {extension}: taken are .pdf, .docx, .txt, .md and .html"
    assert refusal(written(tmp_path, b"some text"), name) == told


def test_a_name_without_extension_is_an_unknown_format(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, b"some text"), "README").startswith("unknown format (no extension)")


@pytest.mark.parametrize("extension", sorted(FORMATS))
def test_an_empty_file_is_refused_in_every_format(tmp_path: Path, extension: str) -> None:
    assert refusal(written(tmp_path, b""), f"empty{extension}") == "it is empty (0 bytes)"


@pytest.mark.parametrize(
    ("data", "name", "truth"),
    [
        (b"%PDF-1.7\n", "notes.txt", "plain text (.txt), but it is a PDF"),
        (b"%PDF-1.7\n", "notes.html", "HTML (.html), but it is a PDF"),
        (b"<!DOCTYPE html><p>Hello", "notes.txt", "plain text (.txt), but it is HTML"),
        (b"<html><p>Hello", "notes.md", "Markdown (.md), but it is HTML"),
        (b"MZ\x90\x00\x03", "invoice.pdf", "a PDF (.pdf), but it is a program"),
        (b"\x7fELF\x02\x01", "invoice.docx", "a Word document (.docx), but it is a program"),
        (b"\x89PNG\r\n\x1a\n", "picture.PDF", "a PDF (.pdf), but it is a PNG picture"),
        (b"just words", "letter.docx", "a Word document (.docx), but it is text"),
        (b"\x1f\x8b\x08", "archive.txt", "plain text (.txt), but it is a gzip archive"),
    ],
)
def test_content_and_name_must_agree(tmp_path: Path, data: bytes, name: str, truth: str) -> None:
    told = refusal(written(tmp_path, data), name)
    assert told == f"its name says {truth}; give it its right extension"


def test_any_number_of_comments_may_come_first(tmp_path: Path) -> None:
    """With 30 of them a careless pattern would look for HTML for hours."""
    comments = b"<!-- a licence -->\n" * 100
    assert refusal(written(tmp_path, comments + b"<html>Hello"), "a.md").startswith("its name says Markdown")
    assert load(written(tmp_path, comments + b"Hello"), name="a.md").pages[0].text.endswith("Hello")


@pytest.mark.parametrize(
    ("part", "truth"),
    [
        ("xl/workbook.xml", "an Excel workbook"),
        ("ppt/presentation.xml", "a PowerPoint presentation"),
        ("META-INF/container.xml", "an EPUB book"),
        ("notes.txt", "a zip archive"),
    ],
)
def test_zip_containers_are_told_apart(tmp_path: Path, part: str, truth: str) -> None:
    path = tmp_path / "upload"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(part, "x")
    assert f"but it is {truth};" in refusal(path, "letter.docx")


def test_old_and_encrypted_office_files_are_told_apart(tmp_path: Path) -> None:
    ole = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(5000)
    assert "an Office document of before 2007" in refusal(written(tmp_path, ole), "a.docx")
    encrypted = ole + "EncryptedPackage".encode("utf-16-le")
    assert (
        refusal(written(tmp_path, encrypted), "a.docx")
        == "it is protected by a password; save it without one"
    )


def test_only_the_extension_of_a_name_counts(tmp_path: Path) -> None:
    path = written(tmp_path, b"Some words.")
    assert load(path, name="../../etc/passwd.txt").pages[0].text == "Some words."


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "folder.txt") == "it is not a file"
    assert refusal(tmp_path / "gone", "gone.txt") == "it cannot be read: No such file or directory"


def test_a_document_too_long_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = written(tmp_path, b"word " * 6_500_000)
    assert re.match("it holds more than 32,000,000 characters", refusal(path, "long.txt"))
