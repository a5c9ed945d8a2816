"""The library's documents as commands see them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from casona.cli.door import Door
from casona.cli.output import CliError
from casona.cli.walk import absolute

AT_ONCE = 1000
NOT_FOUND = 404

Document = dict[str, Any]


def documents(door: Door, *, collection: str | None = None, source: str | None = None) -> Iterator[Document]:
    """By collection and source; none where there is no such collection."""
    after: str | None = None
    while True:
        try:
            page = door.get_json(
                "/library/documents", collection=collection, source=source, limit=AT_ONCE, after=after
            )
        except CliError as fault:
            if fault.status != NOT_FOUND:
                raise
            return
        yield from page["documents"]
        after = page["after"]
        if after is None:
            return


def named(door: Door, path_or_id: str, *, collection: str | None) -> Document:
    """The one document with this id, or from this path. Raises CliError."""
    found = _by_id(door, path_or_id)
    if found and collection in {None, found["collection"]}:
        return found
    sources = dict.fromkeys((str(absolute(Path(path_or_id))), path_or_id))
    matching = [one for source in sources for one in documents(door, collection=collection, source=source)]
    if not matching:
        where = f" in the collection {collection!r}" if collection else ""
        raise CliError(f"there is no document {path_or_id!r}{where}; `casona library list` shows them")
    if len(matching) > 1:
        where = ", ".join(sorted(f"{one['id']} in {one['collection']}" for one in matching))
        raise CliError(f"{path_or_id!r} is several documents; name one by its id: {where}")
    return matching[0]


def _by_id(door: Door, id_: str) -> Document | None:
    if not id_.isalnum():
        return None
    try:
        found: Document = door.get_json(f"/library/documents/{quote(id_, safe='')}")
    except CliError as fault:
        if fault.status != NOT_FOUND:
            raise
        return None
    return found
