"""Which files a person means who names files and directories."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """Every file named, and every one below a directory named, by absolute path, each once.

    Hidden files and directories are passed over unless named themselves, and so is what is no file
    (a socket, a pipe) and every link that leads out of the directory named.
    """
    seen: set[Path] = set()
    for path in paths:
        named = absolute(path)
        for found in _below(named) if named.is_dir() else [named]:
            if found not in seen:
                seen.add(found)
                yield found


def absolute(path: Path) -> Path:
    """Without `.` and `..`, links kept: the name its owner knows it by."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links


def is_gone(path: str) -> bool:
    """Whether there is certainly nothing there any more: what can't be looked at may well be there."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def is_below(path: str, roots: Iterable[Path]) -> bool:
    """Whether a path is one of `roots` (absolute), or lies in one."""
    return any(Path(path).is_relative_to(root) for root in roots)


def _below(root: Path) -> Iterator[Path]:
    real = root.resolve()
    for folder, inner, names in os.walk(root):  # links to directories are not followed
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and _is_within(path, real):
                yield path


def _is_within(path: Path, real_root: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(real_root)
