"""Reads PDFs once, one after another: `python parse_pages.py casona|pypdf FILE…`, in either's environment.

Prints a JSON object: file -> [pages, seconds], without the files that this reader cannot or does not take.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Read = Callable[[Path], int]
"""A file in, its number of pages out."""


def casona_reader() -> tuple[Read, tuple[type[Exception], ...]]:
    from casona.library.document import Refused
    from casona.library.load import load

    return lambda path: len(load(path, name=path.name).pages), (Refused,)


def pypdf_reader() -> tuple[Read, tuple[type[Exception], ...]]:
    import logging

    from pypdf import PdfReader

    logging.disable(logging.CRITICAL)

    def read(path: Path) -> int:
        return sum(1 for page in PdfReader(path).pages if page.extract_text() is not None)

    return read, (Exception,)  # it raises many kinds on strange files


def main() -> None:
    readers = {"casona": casona_reader, "pypdf": pypdf_reader}
    read, refusals = readers[sys.argv[1]]()
    told: dict[str, tuple[int, float]] = {}
    for path in map(
        Path, (sys.argv[2], *sys.argv[2:])
    ):  # the first one twice: imports are no part of parsing
        started_s = time.perf_counter()
        try:
            pages = read(path)
        except refusals:
            continue
        told[str(path)] = (pages, time.perf_counter() - started_s)
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
