"""Bytes that are known under one name are looked at anew under a name that claims another format."""

from pathlib import Path

import pytest
from library_house import BEES, Library

from casona.library.client import LibraryClient


@pytest.mark.parametrize(("name", "outcome"), [("again.md", "stored"), ("again.pdf", "refused")])
def test_known_bytes_are_taken_only_under_a_name_that_fits(tmp_path: Path, name: str, outcome: str) -> None:
    library = Library(tmp_path / "home")

    async def story(client: LibraryClient) -> None:
        first, second = tmp_path / "bees.md", tmp_path / name
        for file in (first, second):
            file.write_text(BEES)
        told = [await client.ingest(file, source=str(file), collection="bees") for file in (first, second)]
        assert [each.outcome for each in told] == ["stored", outcome]

    try:
        library.run(story)
    finally:
        library.close()
