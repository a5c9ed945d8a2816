"""The files that documents were read from."""

import errno
import hashlib
from pathlib import Path

import pytest

from casona.exchange.errors import BadRequest, OutOfSpace
from casona.library.originals import Originals


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_bytes_are_kept_once_under_their_hash(tmp_path: Path) -> None:
    originals = Originals(tmp_path / "files")
    (tmp_path / "a.txt").write_text("text")
    digest = hashlib.sha256(b"text").hexdigest()
    for _ in range(2):
        staged = originals.stage(tmp_path / "a.txt")
        assert (staged.hash, staged.size_bytes) == (digest, 4)
        originals.keep(staged)
    assert files(tmp_path / "files") == [f"{digest[:2]}/{digest}"]
    assert originals.path(digest).read_bytes() == b"text"
    assert originals.all() == {digest}
    originals.drop(digest)
    originals.drop(digest)
    assert [entry.name for entry in (tmp_path / "files").iterdir()] == ["staging"]


def test_what_was_being_copied_is_gone_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    Originals(tmp_path / "files").stage(tmp_path / "a.txt")
    assert len(files(tmp_path / "files")) == 1
    assert Originals(tmp_path / "files").all() == set()
    assert files(tmp_path / "files") == []


def test_a_file_that_cannot_be_read_is_the_callers_fault(tmp_path: Path) -> None:
    originals = Originals(tmp_path / "files")
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(BadRequest):
            originals.stage(path)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    originals = Originals(tmp_path / "files")
    (tmp_path / "a.txt").write_text("text")

    class Full:
        def update(self, _chunk: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hashlib, "sha256", Full)
    with pytest.raises(OutOfSpace):
        originals.stage(tmp_path / "a.txt")
    assert files(tmp_path / "files") == []
