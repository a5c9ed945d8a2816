"""A process that changes a library and kills itself at one step of the change.

`python killed_writer.py HOME CLASS.METHOD before|after`: stores a new document, replaces one and removes one.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from casona.library import collection, holdings, originals
from casona.library.collection import rows_of
from casona.library.embedders import Embedders
from casona.library.holdings import Arriving, Holdings
from casona.library.originals import Originals
from casona.library.store import index
from casona.records import documents
from casona.records.database import open_database
from casona.records.documents import Documents
from casona.records.library import NewContent, NewDocument

TEXTS = {
    "kept": "The queen bee lays eggs.",
    "old": "The tide is low.",
    "new": "The tide is high.",
    "going": "Owls hunt at night.",
    "added": "Foxes dig dens.",
}
_ROOMS = {"Holdings": holdings, "Index": index, "Documents": documents, "Originals": originals}


def library(home: Path) -> Holdings:
    store = Documents(open_database("sqlite:///casona.db", home))
    return Holdings(store, Originals(home / "library/files"), home / "library/index", Embedders(_no_model))


def put(library: Holdings, source: str, text: str, scratch: Path) -> str:
    scratch.write_text(text)
    staged = library.originals.stage(scratch)
    library.originals.keep(staged)
    arrival = library.documents.arrive("notes", source, staged.hash, staged.size_bytes)
    content = NewContent(
        hash=staged.hash,
        recipe="1",
        title=source,
        media_type="text/plain",
        language="en",
        size_bytes=staged.size_bytes,
        pages=[(1, text)],
        passages=[(1, 0, len(text), ())],
    )
    new = NewDocument(arrival_id=arrival, source=source, content_id=arrival, content=content)
    rows = rows_of(content, library.embedder_of(None, "builtin"))
    (document,) = library.store("notes", [Arriving(document=new, rows=rows)], "builtin")
    return str(document)


def _no_model(*_: object) -> Any:
    raise AssertionError


def _die(where: str, when: str) -> None:
    kind, method = where.split(".")
    owner = getattr(_ROOMS[kind], kind)
    original = getattr(owner, method)

    def dying(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, dying)


def main() -> None:
    home, what, where, when = Path(sys.argv[1]), *sys.argv[2:]
    opened = library(home)
    opened.open("notes")
    going = opened.documents.content_of("notes", "going")
    _die(where, when)
    if what == "store":
        put(opened, "changing", TEXTS["new"], home / "scratch")
    else:
        assert going is not None
        opened.remove("notes", [going[0]])


if __name__ == "__main__":
    assert collection
    main()
