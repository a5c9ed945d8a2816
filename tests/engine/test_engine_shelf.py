"""Which models lie on the disk, and under which names."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.engine import gguf_files

from casona.engine.manifest import File, Manifest, Manifests, Role, Version
from casona.engine.shelf import ModelFile, Shelf


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path


def served(shelf: Shelf) -> dict[str, str]:
    """Names, and what is wrong with each."""
    return {model.name: model.broken for model in shelf.scan()}


def pulled(models: Path, name: str, *files: tuple[Path, Role], template: str = "") -> Manifest:
    """Write a manifest of files that lie under models/blobs."""
    listed = tuple(
        File(path=str(path.relative_to(models)), digest="0" * 64, size_bytes=path.stat().st_size, role=role)
        for path, role in files
    )
    version = Version(
        digest="ab" * 32,
        files=listed,
        pulled_at_s=1_700_000_000,
        size_bytes=sum(file.size_bytes for file in listed),
        template=template,
    )
    manifest = Manifest(name=name, reference=f"registry.ollama.ai/library/{name}", current=version)
    Manifests(models).write(manifest)
    return manifest


def blob(models: Path, source: Path, name: str = "sha256-1.gguf") -> Path:
    path = models / "blobs" / name
    path.parent.mkdir(exist_ok=True)
    return shutil.copy(source, path)


def test_a_file_is_served_under_its_stem(models: Path, tiny_gguf: Path) -> None:
    path = shutil.copy(tiny_gguf, models / "My Model.v1.gguf")
    (found,) = Shelf(models).scan()
    assert found.header
    assert found == ModelFile(
        name="My Model.v1",
        path=path,
        files=(path,),
        size_bytes=path.stat().st_size,
        digest=found.digest,
        modified_s=path.stat().st_mtime_ns / 1e9,
        header=found.header,
        template=found.header.chat_template,
    )
    assert len(bytes.fromhex(found.digest)) == 32


def test_what_is_no_model_is_left_alone(models: Path, tiny_gguf: Path) -> None:
    for name in ("tiny.gguf.partial", ".hidden.gguf", "._tiny.gguf", "readme.txt"):
        shutil.copy(tiny_gguf, models / name)
    (models / "folder.gguf").mkdir()
    os.mkfifo(models / "pipe.gguf")
    gguf_files.projector(models / "eyes.gguf", width=64)
    assert served(Shelf(models)) == {}


def test_a_missing_directory_is_empty(tmp_path: Path) -> None:
    assert Shelf(tmp_path / "none").scan() == ()


def test_broken_files_are_listed_with_their_reason(models: Path, tiny_gguf: Path) -> None:
    (models / "empty.gguf").touch()
    (models / "text.gguf").write_text("hello there")
    (models / "cut.gguf").write_bytes(tiny_gguf.read_bytes()[:3000])
    (models / "gone.gguf").symlink_to(models / "elsewhere")
    assert served(Shelf(models)) == {
        "cut": "is cut short: it ends inside its header",
        "empty": "is empty",
        "gone": "misses its file gone.gguf",
        "text": "is not a GGUF file",
    }


@pytest.mark.skipif(sys.platform == "darwin", reason="names on APFS are UTF-8")
def test_a_name_that_is_not_utf8_is_told_of(models: Path, tiny_gguf: Path) -> None:
    shutil.copy(tiny_gguf, os.fsencode(models) + b"/caf\xe9.gguf")
    assert served(Shelf(models)) == {"caf�": "has a name that is not UTF-8; rename it"}


def test_shards_count_once(models: Path) -> None:
    paths = gguf_files.shards(models / "big.gguf", 3)
    (found,) = Shelf(models).scan()
    assert (found.name, found.path, found.files) == ("big", paths[0], tuple(paths))
    assert found.size_bytes == sum(path.stat().st_size for path in paths)
    paths[1].unlink()
    assert served(Shelf(models)) == {"big": "has 2 of its 3 parts"}


def test_files_that_come_change_and_go_are_noticed(models: Path, tiny_gguf: Path) -> None:
    shelf = Shelf(models)
    assert served(shelf) == {}
    (models / "m.gguf").write_bytes(tiny_gguf.read_bytes()[:5000])
    assert served(shelf) == {"m": "is cut short: it ends inside its header"}
    shutil.copy(tiny_gguf, models / "m.gguf")
    assert served(shelf) == {"m": ""}
    first = shelf.find("m")
    (models / "m.gguf").write_bytes(tiny_gguf.read_bytes() + b"more")
    second = shelf.find("m")
    assert first and second and first.digest != second.digest
    (models / "m.gguf").unlink()
    assert served(shelf) == {}


def test_a_header_is_read_once(models: Path, tiny_gguf: Path) -> None:
    shutil.copy(tiny_gguf, models / "m.gguf")
    shelf = Shelf(models)
    assert shelf.scan()[0].header is shelf.scan()[0].header


@pytest.mark.parametrize(
    ("projector", "model"),
    [
        ("mmproj-gemma-F16.gguf", "gemma-Q4_K_M"),
        ("gemma-mmproj.gguf", "gemma-Q4_K_M"),
        ("gemma.mmproj-q8_0.gguf", "gemma-Q4_K_M"),
        ("mmproj.gguf", "gemma-Q4_K_M"),
        ("mmproj-model-f16.gguf", "gemma-Q4_K_M"),
        ("mmproj-other.gguf", None),
    ],
)
def test_a_projector_belongs_to_its_model(
    models: Path, tiny_gguf: Path, minilm_gguf: Path, projector: str, model: str | None
) -> None:
    shutil.copy(tiny_gguf, models / "gemma-Q4_K_M.gguf")
    gguf_files.grouped(models / "llama.gguf", width=32)
    shutil.copy(minilm_gguf, models / "embedder.gguf")
    gguf_files.projector(models / projector, width=64)
    found = {one.name: one.mmproj for one in Shelf(models).scan()}
    assert set(found) == {"gemma-Q4_K_M", "llama", "embedder"}
    assert [name for name, path in found.items() if path] == ([model] if model else [])


def test_a_broken_projector_is_left_out(models: Path, tiny_gguf: Path) -> None:
    shutil.copy(tiny_gguf, models / "m.gguf")
    (models / "mmproj-m.gguf").write_bytes(b"noise")
    (found,) = Shelf(models).scan()
    assert (found.mmproj, found.broken) == (None, "")


def test_a_pulled_model_is_served_under_the_name_it_was_pulled_by(models: Path, tiny_gguf: Path) -> None:
    weights = blob(models, tiny_gguf)
    eyes = gguf_files.projector(models / "blobs" / "sha256-2.gguf", width=64)
    pulled(models, "llama3:8b", (weights, "model"), (eyes, "projector"), template="{{ .Prompt }}")
    (found,) = Shelf(models).scan()
    assert (found.name, found.path, found.mmproj) == ("llama3:8b", weights, eyes)
    assert (found.digest, found.template) == ("ab" * 32, "{{ .Prompt }}")
    assert (found.origin, found.modified_s) == ("registry.ollama.ai/library/llama3:8b", 1_700_000_000)


def test_latest_need_not_be_said(models: Path, tiny_gguf: Path) -> None:
    for name in ("a", "b:latest", "c:8b"):
        pulled(models, name, (blob(models, tiny_gguf), "model"))
    shutil.copy(tiny_gguf, models / "d.gguf")
    shelf = Shelf(models)
    asked = ["a", "a:latest", "b", "b:latest", "c", "c:8b", "d:latest"]
    assert [found.name if (found := shelf.find(name)) else None for name in asked] == [
        *("a", "a", "b:latest", "b:latest", None, "c:8b", "d")
    ]


def test_the_exact_name_comes_first(models: Path, tiny_gguf: Path) -> None:
    for name in ("a", "a:latest"):
        pulled(models, name, (blob(models, tiny_gguf), "model"))
    shelf = Shelf(models)
    assert [found.name for name in ("a", "a:latest") if (found := shelf.find(name))] == ["a", "a:latest"]


def test_a_pulled_model_whose_file_is_gone_is_broken(models: Path, tiny_gguf: Path) -> None:
    weights = blob(models, tiny_gguf)
    pulled(models, "m", (weights, "model"))
    weights.unlink()
    assert served(Shelf(models)) == {"m": "misses its file sha256-1.gguf"}


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "blobs/../../x.gguf", "manifests/x", "x.gguf"]
)
def test_a_manifest_names_nothing_outside(models: Path, tiny_gguf: Path, path: str) -> None:
    weights = blob(models, tiny_gguf)
    pulled(models, "m", (weights, "model"))
    manifest = Manifests(models).path("m")
    manifest.write_text(manifest.read_text().replace("blobs/sha256-1.gguf", path))
    assert served(Shelf(models)) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00", "[" * 100_000])
def test_a_manifest_that_cannot_be_read_hides_only_its_model(
    models: Path, tiny_gguf: Path, content: str
) -> None:
    shutil.copy(tiny_gguf, models / "own.gguf")
    pulled(models, "m", (blob(models, tiny_gguf), "model"))
    Manifests(models).path("m").write_text(content)
    assert served(Shelf(models)) == {"own": ""}
