"""Arrays as bare numbers in files.

Not numpy's own format: it reads its header with `ast`, which is not safe to use in several threads at once
before Python 3.12 (https://github.com/python/cpython/issues/106905).
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def mapped(path: Path, kind: type[np.generic]) -> npt.NDArray[Any]:
    """The file's numbers, read from the disk as they are looked at. Raises OSError, ValueError."""
    if path.stat().st_size == 0:
        return np.empty(0, kind)
    return np.memmap(path, kind, mode="r")
