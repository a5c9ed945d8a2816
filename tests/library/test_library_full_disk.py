"""A full disk: what is new is refused, what was there stays readable, and all is well once there is room."""

import errno
from pathlib import Path
from typing import Any

import pytest
from killed_writer import TEXTS, library, put
from library_house import holding, make_house
from test_library_crash import searched

from casona.exchange.errors import OutOfSpace
from casona.library.store.index import Index
from casona.records.documents import Documents


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", [(Index, "add_vectors"), (Index, "add_terms"), (Index, "_write")])
def test_what_was_there_is_found_while_the_disk_is_full(
    step: tuple[type, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = library(make_house(tmp_path / "home"))
    put(opened, "kept", TEXTS["kept"], tmp_path / "scratch")
    with monkeypatch.context() as patch:
        patch.setattr(*step, full)
        patch.setattr(Index, "begin", full)
        with pytest.raises(OutOfSpace, match="no space left for the library"):
            put(opened, "added", TEXTS["added"], tmp_path / "scratch")
        assert searched(opened, "bees") == ["kept"]
        assert searched(opened, "foxes") == []
    put(opened, "added", TEXTS["added"], tmp_path / "scratch")
    assert searched(opened, "foxes") == ["added"]
    assert opened.counts()["collections"] == {
        "notes": {"documents": 2, "passages": 2, "vectors": 2, "terms": 2, "removed_vectors": 0}
    }


def test_documents_can_be_removed_from_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = library(make_house(tmp_path / "home"))
    put(opened, "kept", TEXTS["kept"], tmp_path / "scratch")
    going = put(opened, "going", TEXTS["going"], tmp_path / "scratch")
    with monkeypatch.context() as patch:
        patch.setattr(Index, "begin", full)
        opened.remove("notes", [going])
        assert holding(tmp_path / "home", "Owls") == []
    assert searched(opened, "owls") == []
    assert searched(opened, "bees") == ["kept"]
    assert opened.counts()["leftovers"] == 0


def test_a_database_without_room_leaves_the_index_to_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = library(make_house(tmp_path / "home"))
    put(opened, "kept", TEXTS["kept"], tmp_path / "scratch")
    with monkeypatch.context() as patch:
        patch.setattr(Documents, "store", full)
        with pytest.raises(OutOfSpace):
            put(opened, "added", TEXTS["added"], tmp_path / "scratch")
    assert searched(opened, "foxes") == []
    counts: Any = opened.counts()
    assert (counts["collections"]["notes"]["vectors"], counts["collections"]["notes"]["terms"]) == (1, 1)
