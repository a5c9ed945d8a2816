"""Arrays as bare numbers in files.

Not numpy's own format: it reads its header with `ast`, which is not safe to use in several threads at once
before Python 3.12 (https://github.com/python/cpython/issues/106905). Nor its `tofile`, whose errors do not
tell that the disk is full.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def write(path: Path, array: npt.NDArray[Any]) -> None:
    """Write the array's numbers. Raises OSError."""
    with path.open("wb") as file:
        if array.size:
            file.write(np.ascontiguousarray(array).data.cast("B"))


def mapped(path: Path, kind: type[np.generic]) -> npt.NDArray[Any]:
    """The file's numbers, read from the disk as they are looked at. Raises OSError, ValueError."""
    if path.stat().st_size == 0:
        return np.empty(0, kind)
    return np.memmap(path, kind, mode="r")
