"""The models on this machine's disk: the user's own GGUF files and what was pulled.

Looking is cheap (one directory listing and a `stat` for each file; headers are read again only when
a file changed), so callers look whenever they need to know and nothing is told when files come and go.
"""

import hashlib
import logging
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from casona.engine import quantisation
from casona.engine.gguf import BrokenModel, Header, read_model
from casona.engine.manifest import BrokenManifest, Manifest, Manifests, names

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")
_ENDS_BYTES = 2**20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model as it lies on the disk. `files` are all its shards in order, `path` the first.

    `digest` is 64 hex digits: what a pull verified, and for a user's own file the hash of its size and
    both ends, which is cheap and changes when the file does. `broken` is why it cannot be served, or "";
    then `header` is None. `origin` is "file", or the reference it was pulled from.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    mmproj: Path | None = None
    size_bytes: int
    digest: str
    modified_s: float
    header: Header | None
    broken: str = ""
    template: str = ""
    origin: str = "file"


@dataclass(frozen=True, slots=True)
class _Found:
    """A set of files, and what identifies its state: times and sizes."""

    paths: tuple[Path, ...]
    state: tuple[tuple[int, int], ...]
    missing: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size in self.state)

    @property
    def modified_s(self) -> float:
        return max((time for time, _ in self.state), default=0) / 1e9


@dataclass(frozen=True, slots=True)
class _Read:
    header: Header | None
    broken: str
    digest: str


class Shelf:
    """Safe to use from several threads."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        self.manifests = Manifests(models_dir)
        self._known: dict[_Found, _Read] = {}
        self._manifests: dict[tuple[Path, int, int], Manifest | str] = {}
        self._lock = threading.Lock()

    def scan(self) -> tuple[ModelFile, ...]:
        """Every model, broken ones too, by name. A pulled model hides a user's file of the same name."""
        with self._lock:
            seen: dict[_Found, _Read] = {}
            models = {model.name: model for model in self._own(seen)}
            models |= {model.name: model for model in self._pulled(seen)}
            self._known = seen
        return tuple(models[name] for name in sorted(models))

    def find(self, name: str) -> ModelFile | None:
        """The model of this name: the exact one first, else `x` and `x:latest` are the same."""
        models = {model.name: model for model in self.scan()}
        return next((models[candidate] for candidate in names(name) if candidate in models), None)

    def _own(self, seen: dict[_Found, _Read]) -> list[ModelFile]:
        models, projectors = [], []
        for name, found in _groups(self.models_dir).items():
            read = self._look(found, seen)
            if "mmproj" in name.lower():
                projectors.append((found.paths[0], read))
            elif read.header is None or read.header.kind == "model":
                models.append(_own_model(name, found, read))
        return _with_projectors(models, projectors)

    def _pulled(self, seen: dict[_Found, _Read]) -> list[ModelFile]:
        models = []
        fresh: dict[tuple[Path, int, int], Manifest | str] = {}
        for path in self.manifests.paths():
            try:
                stat = path.stat()
            except OSError:
                continue
            key = (path, stat.st_mtime_ns, stat.st_size)
            manifest = fresh[key] = self._manifests.get(key) or self._manifest(path)
            if isinstance(manifest, Manifest):
                models.append(self._of_manifest(manifest, seen))
        self._manifests = fresh
        return models

    def _manifest(self, path: Path) -> Manifest | str:
        try:
            return self.manifests.read(path)
        except BrokenManifest as error:
            _log.warning("a pulled model is left out: %s", error)
            return str(error)

    def _of_manifest(self, manifest: Manifest, seen: dict[_Found, _Read]) -> ModelFile:
        version = manifest.current
        place = {file: self.models_dir / file.path for file in version.files}
        files = tuple(path for file, path in place.items() if file.role == "model")
        mmproj = next((path for file, path in place.items() if file.role == "projector"), None)
        read = self._look(_found(files), seen)
        return ModelFile(
            name=manifest.name,
            path=files[0] if files else self.models_dir,
            files=files,
            mmproj=mmproj if mmproj and mmproj.exists() else None,
            size_bytes=version.size_bytes,
            digest=version.digest,
            modified_s=version.pulled_at_s,
            header=read.header,
            broken=read.broken,
            template=version.template or (read.header.chat_template if read.header else ""),
            origin=manifest.reference,
        )

    def _look(self, found: _Found, seen: dict[_Found, _Read]) -> _Read:
        read = self._known.get(found) or seen.get(found) or _read(found)
        seen[found] = read
        return read


def _own_model(name: str, found: _Found, read: _Read) -> ModelFile:
    return ModelFile(
        name=_shown(name),
        path=found.paths[0],
        files=found.paths,
        size_bytes=found.size_bytes,
        digest=read.digest,
        modified_s=found.modified_s,
        header=read.header,
        broken=read.broken,
        template=read.header.chat_template if read.header else "",
    )


def _read(found: _Found) -> _Read:
    digest = _digest(found)
    if found.missing:
        return _Read(None, found.missing, digest)
    if any(_shown(path.name) != path.name for path in found.paths):  # llama.cpp could not open it
        return _Read(None, "has a name that is not UTF-8; rename it", digest)
    try:
        return _Read(read_model(found.paths), "", digest)
    except BrokenModel as error:
        return _Read(None, str(error), digest)


def _groups(directory: Path) -> dict[str, _Found]:
    """The GGUF files of a directory by the name they are served under; shards together."""
    try:
        with os.scandir(directory) as entries:
            paths = sorted(Path(entry.path) for entry in entries if _is_gguf(entry))
    except OSError:
        return {}
    sets: dict[tuple[str, int], list[Path]] = {}
    for path in paths:
        part = _SHARD.match(path.stem)
        key = (part["stem"], int(part["count"])) if part else (path.stem, 0)
        sets.setdefault(key, []).append(path)
    groups: dict[str, _Found] = {}
    for (stem, _), files in sorted(sets.items()):
        groups[files[0].stem if stem in groups else stem] = _found(files)
    return groups


def _is_gguf(entry: os.DirEntry[str]) -> bool:
    """A regular file, or a link whose file is gone: that one is listed as broken."""
    if not entry.name.lower().endswith(".gguf") or entry.name.startswith("."):
        return False
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return False


def _found(paths: Sequence[Path]) -> _Found:
    states, missing = [], "" if paths else "misses its model file"
    for path in paths:
        try:
            stat = path.stat()
            states.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            states.append((0, 0))
            missing = f"misses its file {path.name}"
    return _Found(tuple(paths), tuple(states), missing)


def _digest(found: _Found) -> str:
    """A hash of size and both ends of each file: to hash a 40 GB file takes minutes."""
    digest = hashlib.sha256()
    for path in found.paths:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest.update(size.to_bytes(8, "little") + file.read(_ENDS_BYTES))
                file.seek(max(_ENDS_BYTES, size - _ENDS_BYTES))
                digest.update(file.read(_ENDS_BYTES))
        except OSError:
            digest.update(os.fsencode(path.name))
    return digest.hexdigest()


def _shown(stem: str) -> str:
    """File names are bytes; a name that is not UTF-8 must still be printable in JSON."""
    return os.fsencode(stem).decode("utf-8", "replace")


def _with_projectors(models: list[ModelFile], projectors: list[tuple[Path, _Read]]) -> list[ModelFile]:
    """Give each model the vision projector that belongs to it."""
    fitting = [
        (path, read.header) for path, read in projectors if read.header and read.header.kind == "mmproj"
    ]
    for path, read in projectors:
        if read.header is None:
            _log.warning("the vision projector %s is left out: it %s", path.name, read.broken)
    return [replace(model, mmproj=_projector(model, models, fitting)) for model in models]


def _projector(
    model: ModelFile, models: list[ModelFile], projectors: list[tuple[Path, Header]]
) -> Path | None:
    """By name (`mmproj-NAME-F16.gguf`, `NAME.mmproj.gguf`); a nameless one (`mmproj.gguf`) goes to the
    only model there is, or the only one of its width."""
    chatting = [m for m in models if m.header and not m.header.is_embedder]
    if model not in chatting:
        return None
    for path, header in projectors:
        family = _family(path.stem)
        width = header.metadata.get("clip.vision.projection_dim")
        fitting = [m for m in chatting if m.header and m.header.embedding_length == width]
        if family == _family(model.name) or (family in ("", "model") and [model] in (chatting, fitting)):
            return path
    return None


def _family(stem: str) -> str:
    bare = quantisation.without(re.sub("mmproj", "", stem, flags=re.IGNORECASE))
    return re.sub(r"[-_.\s]+", "-", bare).strip("-").lower()
