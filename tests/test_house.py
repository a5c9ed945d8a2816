"""What a house does by itself when it begins to work."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from casona.house import go_on_with_documents
from casona.records.database import open_database
from casona.records.documents import Documents


class Library:
    woken = 0

    async def wake(self) -> None:
        self.woken += 1


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_library_wakes_only_when_files_were_under_way(tmp_path: Path, interrupted: bool) -> None:
    database, library = open_database("sqlite:///casona.db", tmp_path), Library()
    if interrupted:
        Documents(database).arrive("default", "a.md", "0" * 64, 5)
    asyncio.run(go_on_with_documents(SimpleNamespace(database=database, library=library)))  # type: ignore[arg-type]
    assert library.woken == interrupted
    database.close()
