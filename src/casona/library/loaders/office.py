"""The container of Office files: a zip of XML parts, opened with care.

XML by the standard library's expat, which opens no external entity; parts with a DOCTYPE, the way in for
entity bombs, are refused, as no Office program writes one. What a part says it unpacks to is checked before
it is unpacked, and the zip reader gives no byte more than that.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, cast
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from zipfile import BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

from casona.library.document import Refused

MAX_PART_BYTES = 256 * 2**20
MAX_TOTAL_BYTES = 512 * 2**20
MAX_ENTRIES = 20_000
MAX_RATIO = 250
"""Largest unpacked by packed size of a part over RATIO_FROM_BYTES. Prose in XML packs some 10 to 60 times."""
RATIO_FROM_BYTES = 8 * 2**20
MAX_DEPTH = 400
_CHUNK_BYTES = 65_536
_PROLOGUE = re.compile(rb"(?:\xef\xbb\xbf)?\s*+(?><\?[^>]*\?>\s*|<!--.*?-->\s*)*+<[A-Za-z_]", re.S)


class Package:
    """An open Office file. Everything raises Refused."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = ZipFile(path)
        except (BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise Refused(
                "it is broken: a zip container (as Office files are) that cannot be opened"
            ) from error
        if len(self._zip.infolist()) > MAX_ENTRIES:
            raise Refused(f"it has more than {MAX_ENTRIES:,} parts, as no document has")
        self._unpacked_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def names(self) -> list[str]:
        return self._zip.namelist()

    def tree(self, name: str) -> Element | None:
        """A part as one tree, or None where there is no such part."""
        return next(self.elements(name, depth=0), None)

    def elements(self, name: str, *, depth: int) -> Iterator[Element]:
        """The elements of a part that lie `depth` below its root, each given when read, then forgotten."""
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            return
        self._admit(info)
        try:
            yield from self._parsed(info, depth)
        except ParseError as error:
            raise Refused(f"it is broken: its part {name} is not well-formed XML") from error
        except (BadZipFile, ZlibError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
            raise Refused(f"it is broken: its part {name} cannot be unpacked") from error

    def _admit(self, info: ZipInfo) -> None:
        self._unpacked_bytes += info.file_size
        if info.file_size > MAX_PART_BYTES or self._unpacked_bytes > MAX_TOTAL_BYTES:
            raise Refused(
                f"it unpacks to more than {MAX_PART_BYTES // 2**20} MiB of text, as no document does"
            )
        if info.file_size > RATIO_FROM_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise Refused(f"it is packed more than {MAX_RATIO} times, as no document is: a zip bomb")

    def _parsed(self, info: ZipInfo, depth: int) -> Iterator[Element]:
        parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
        open_elements: list[Element] = []
        with self._zip.open(info) as part:
            chunk = part.read(_CHUNK_BYTES)
            if not _PROLOGUE.match(chunk):
                raise Refused(f"it is broken: its part {info.filename} is not plain UTF-8 XML")
            while chunk:
                parser.feed(chunk)
                yield from _complete(parser, open_elements, depth)
                chunk = part.read(_CHUNK_BYTES)
        parser.close()


def _complete(parser: "XMLPullParser[Any]", open_elements: list[Element], depth: int) -> Iterator[Element]:
    """The elements at `depth` that the last chunk completed. `open_elements` is kept from chunk to chunk."""
    for event, element in cast("Iterator[tuple[str, Element]]", parser.read_events()):
        if event == "start":
            open_elements.append(element)
            if len(open_elements) > MAX_DEPTH:
                raise Refused("it is broken: its parts are nested too deep")
            continue
        open_elements.pop()
        if len(open_elements) == depth:
            yield element
            if open_elements:
                open_elements[-1].remove(element)
