"""The files that pulls have fetched: which are needed, which are left over, and sweeping those away."""

import logging
import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from casona.engine.manifest import BrokenManifest, Manifests

KEPT_S = 7 * 24 * 3600.0  # a transfer that was cut is taken up again within a week, or never
_log = logging.getLogger(__name__)


class Blobs:
    """The blobs directory of one house. Blocking. Only the process that holds the house uses it."""

    def __init__(self, manifests: Manifests) -> None:
        self.models_dir = manifests.models_dir
        self.dir = manifests.models_dir / "blobs"
        self._manifests = manifests

    def missing(self, places: Iterable[tuple[str, int]]) -> int:
        """Bytes yet to be fetched of files given as place and size."""
        return sum(max(0, size - self._present_bytes(place, size)) for place, size in places)

    def discard(self, places: Iterable[str], *, held: Collection[str] = ()) -> int:
        """Delete those that no manifest names and no running pull holds. Gives the bytes freed."""
        needed = self._needed() | set(held)
        freed = 0
        for place in set(places) - needed:
            path = self.models_dir / place
            freed += path.stat().st_size if path.exists() else 0
            for left in (path, *_traces(path)):
                left.unlink(missing_ok=True)
            if path.parent != self.dir and path.parent.exists() and not any(path.parent.iterdir()):
                path.parent.rmdir()
        return freed

    def sweep(self, *, now_s: float | None = None) -> None:
        """Remove what killed or given-up pulls left, once it is a week old. Nothing if a manifest is broken:
        then it is not known what is needed."""
        try:
            for path in self._manifests.paths():
                self._manifests.read(path)
        except BrokenManifest as error:
            _log.warning("leftovers of pulls are not swept: %s", error)
            return
        before_s = (time.time() if now_s is None else now_s) - KEPT_S
        for path in self._manifests.dir.glob(".new-*"):
            path.unlink(missing_ok=True)
        needed = {self.models_dir / place for place in self._needed()}
        for path in self.dir.iterdir() if self.dir.is_dir() else ():
            if _is_old(path, before_s) and not any(path == one or path in one.parents for one in needed):
                _log.info("removing %s, which a pull left", path.name)
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _needed(self) -> set[str]:
        return {file.path for manifest in self._manifests.all() for file in manifest.files()}

    def _present_bytes(self, place: str, size: int) -> int:
        path = self.models_dir / place
        for candidate in (path, _traces(path)[0]):
            if candidate.exists():
                return min(candidate.stat().st_size, size)
        return 0


def _traces(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + ".partial"), path.with_name(path.name + ".partial.json")


def _is_old(path: Path, before_s: float) -> bool:
    inside = [entry.stat().st_mtime for entry in path.iterdir()] if path.is_dir() else []
    return max([path.stat().st_mtime, *inside]) < before_s
