import os
import threading
from pathlib import Path

import pytest

from casona.records.journal import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.journal"


def part_of(journal: Journal) -> bytes:
    part = journal.part()
    return part.read_bytes() if part else b""


def test_lines_are_there_when_append_returns(path: Path) -> None:
    journal = Journal(path)
    journal.append(b"one\n")
    assert path.read_bytes() == b"one\n"
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    journal.close()


def test_a_part_is_the_same_until_it_is_forgotten(path: Path) -> None:
    journal = Journal(path)
    journal.append(b"one\n")
    assert part_of(journal) == b"one\n"
    journal.append(b"two\n")
    assert part_of(journal) == b"one\n"
    journal.forget()
    assert part_of(journal) == b"two\n"
    journal.forget()
    assert journal.part() is None
    journal.close()


def test_parts_and_lines_of_a_crash_come_first(path: Path) -> None:
    crashed = Journal(path)
    crashed.append(b"one\n")
    crashed.part()
    crashed.append(b"two\n")
    crashed.close()

    journal = Journal(path)
    journal.append(b"three\n")
    assert part_of(journal) == b"one\n"
    journal.forget()
    assert part_of(journal) == b"two\nthree\n"
    journal.close()


def test_half_a_line_is_dropped_and_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"one\ntw")
    journal = Journal(path)
    journal.append(b"three\n")
    assert path.read_bytes() == b"one\nthree\n"
    assert caplog.messages == [f"dropped a torn line of 2 bytes at the end of {path}"]
    journal.close()


def test_a_line_that_does_not_fit_leaves_no_fragment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path)
    journal.append(b"one\n")
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:2]))
        with pytest.raises(OSError, match="No space left"):
            journal.append(b"two\n")
    journal.append(b"three\n")
    assert path.read_bytes() == b"one\nthree\n"
    journal.close()


def test_a_journal_that_was_removed_starts_again(path: Path) -> None:
    journal = Journal(path)
    journal.append(b"one\n")
    path.unlink()
    assert journal.part() is None
    journal.append(b"two\n")
    assert part_of(journal) == b"two\n"
    journal.close()


def test_no_line_is_lost_while_parts_are_taken(path: Path) -> None:
    journal = Journal(path)
    lines = [b"%d\n" % number for number in range(20_000)]
    writer = threading.Thread(target=lambda: [journal.append(line) for line in lines])
    writer.start()
    moved = b""
    while writer.is_alive() or journal.part():
        moved += part_of(journal)
        journal.forget()
    assert moved == b"".join(lines)
    journal.close()
