"""A form with one file and short fields, as browsers and curl send it. Source: RFC 7578.

The file goes to disk as it comes.
"""

import re
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from casona.exchange.errors import BadRequest
from casona.web.incoming import Draft

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE = "file"

_LONGEST_FIELD_BYTES = 4096
_WINDOWS_PATH = re.compile(rb'filename="?([A-Za-z]:)?\\', re.I)


class Form:
    """What has been read: the file's name as it was sent, and the fields by name."""

    def __init__(self, known: Collection[str]) -> None:
        self.file_name: str | None = None
        self.is_whole = False
        self.fields: dict[str, str] = {}
        self.arrived = bytearray()
        self._known = known
        self._disposition = b""
        self._header = bytearray()
        self._value = bytearray()
        self._field: str | None = None

    @property
    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        disposition, self._disposition = self._disposition, b""
        _, options = parse_options_header(disposition)
        name = _text(options.get(b"name", b""))
        if b"filename" in options:
            self._begin_file(name, _file_name(disposition, options[b"filename"]))
        elif name == FILE:
            raise BadRequest("file: is a field without a file name; send it as a file", param=FILE)
        elif name not in self._known:
            raise _no_such(name, [FILE, *self._known])
        else:
            self._field = name

    def _begin_file(self, name: str, file_name: str) -> None:
        if name != FILE:
            raise _no_such(name, [FILE])
        if self.file_name is not None:
            raise BadRequest("file: send one file at a time", param=FILE)
        self.file_name = file_name

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self.arrived += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > _LONGEST_FIELD_BYTES:
            raise BadRequest(f"{self._field}: is too long", param=self._field)

    def _on_part_end(self) -> None:
        if self._field is not None:
            self.fields[self._field] = _text(bytes(self._value))
        self._field, self._value = None, bytearray()

    def _on_end(self) -> None:
        self.is_whole = True


async def read_form(
    content_type: str, pieces: AsyncIterator[bytes], draft: Draft, *, known: Collection[str]
) -> Form:
    """Read a form whose `file` goes into the draft. Raises BadRequest, OutOfSpace."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise BadRequest("send the file as multipart/form-data, in a field called file", param=FILE)
    form = Form(known)
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks)
        async for piece in pieces:
            parser.write(piece)
            if form.arrived:
                arrived, form.arrived = form.arrived, bytearray()
                await draft.write(arrived)
    except FormParserError as fault:
        raise BadRequest("the body is not the form it says it is") from fault
    if not form.is_whole:
        raise BadRequest("the body ends before the form does")
    if form.file_name is None:
        raise BadRequest("file: this field is required", param=FILE)
    return form


def _file_name(disposition: bytes, name: bytes) -> str:
    """The parser keeps only the last part of a Windows path, which would hide that there was one."""
    prefix = "\\" if _WINDOWS_PATH.search(disposition) else ""
    percent = {b"%22": b'"', b"%0D": b"\r", b"%0A": b"\n"}  # WHATWG's escapes
    for escaped, plain in percent.items():
        name = name.replace(escaped, plain)
    return prefix + _text(name)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as fault:
        raise BadRequest("the form is not UTF-8") from fault


def _no_such(name: str, known: Collection[str]) -> BadRequest:
    return BadRequest(f"{name}: there is no such field; there are {', '.join(known)}", param=name)
