"""What a pull leaves beside its files: one JSON file for each pulled model.

    models/
      qwen.gguf                         the user's own file
      manifests/llama3%3A8b.json        a pulled model: which files it is made of
      blobs/sha256-….gguf               a pulled file, named by its content
      blobs/set-…/x-00001-of-00002.gguf shards, which llama.cpp wants under their names in one directory

A manifest is written last and replaced in one step, so a process killed at any moment leaves the
old model or the new one. A file's path follows from its content: two manifests that share a file
name the same path, and a file goes when no manifest names it.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

import msgspec

Role = Literal["model", "projector", "adapter"]


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`path` is relative to the models directory; `digest` is the sha256 in hex."""

    path: str
    digest: str
    size_bytes: int
    role: Role = "model"


class Version(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One state of a model. `template` is Ollama's own and only shown: the GGUF's is what is used."""

    digest: str
    files: tuple[File, ...]
    pulled_at_s: float
    size_bytes: int
    source: str = ""
    quantisation: str = ""
    template: str = ""
    parameters: dict[str, Any] = {}
    system: str = ""
    license: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name` is what the model was pulled and is served by; `previous` is newest first."""

    name: str
    reference: str
    current: Version
    previous: tuple[Version, ...] = ()

    def files(self) -> Iterator[File]:
        for version in (self.current, *self.previous):
            yield from version.files


class BrokenManifest(ValueError):
    """A manifest that cannot be read; `str(error)` says why."""


class Manifests:
    """The manifests of one models directory. Blocking; every method reads the disk anew."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        self.dir = models_dir / "manifests"

    def path(self, name: str) -> Path:
        return self.dir / f"{quote(name, safe='')}.json"

    def paths(self) -> list[Path]:
        try:
            return sorted(path for path in self.dir.iterdir() if path.suffix == ".json")
        except OSError:
            return []

    def read(self, path: Path) -> Manifest:
        """Raises BrokenManifest; a manifest never names a file outside the models directory."""
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except (OSError, ValueError, RecursionError) as error:
            raise BrokenManifest(f"its manifest {path.name} cannot be read: {error}") from None
        for file in manifest.files():
            place = PurePosixPath(file.path)
            if place.is_absolute() or ".." in place.parts or place.parts[:1] != ("blobs",):
                raise BrokenManifest(f"its manifest {path.name} names a file outside: {file.path}")
        return manifest

    def find(self, name: str) -> Manifest | None:
        """The manifest of this name: as it is, else with or without `:latest`."""
        for candidate in names(name):
            path = self.path(candidate)
            if path.exists():
                return self.read(path)
        return None

    def all(self) -> list[Manifest]:
        """Every manifest that can be read."""
        found = []
        for path in self.paths():
            try:
                found.append(self.read(path))
            except BrokenManifest:
                continue
        return found

    def write(self, manifest: Manifest) -> None:
        """Replace in one step. Raises OSError; then the old one stands."""
        self.dir.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.dir, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path(manifest.name))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def remove(self, manifest: Manifest) -> None:
        self.path(manifest.name).unlink(missing_ok=True)


def names(name: str) -> tuple[str, ...]:
    """The names that mean the same model, the exact one first: `x` equals `x:latest`."""
    if name.endswith(":latest"):
        return name, name.removesuffix(":latest")
    if ":" in name.rsplit("/", 1)[-1]:
        return (name,)
    return name, f"{name}:latest"
