"""Pulling, updating and removing models, against a hub on this machine."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.engine import gguf_files, hub_server
from tests.engine.hub_server import Hub, sha256

from casona.engine.blobs import KEPT_S, Blobs
from casona.engine.hub.download import Patience
from casona.engine.hub.web import Cancelled
from casona.engine.manifest import Manifests
from casona.engine.pulls import Pulls, Unusable
from casona.engine.shelf import Shelf
from casona.exchange.errors import (
    BadRequest,
    CasonaError,
    Conflict,
    ModelNotFound,
    NoNodeReady,
    NotFound,
    OutOfSpace,
)

PATIENCE = Patience(tries=2, wait_s=0.01)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.running() as hub:
        yield hub


@pytest.fixture
def weights(tiny_gguf: Path) -> bytes:
    return tiny_gguf.read_bytes()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "models").mkdir()
    return Shelf(tmp_path / "models")


@pytest.fixture
def pulls(hub: Hub, shelf: Shelf) -> Pulls:
    return Pulls(shelf, hub.connect(), patience=PATIENCE)


async def follow(pulls: Pulls, name: str) -> list[dict[str, Any]]:
    return [event async for event in pulls.start(name).follow()]


def pull(pulls: Pulls, name: str) -> list[dict[str, Any]]:
    return asyncio.run(follow(pulls, name))


def lying(shelf: Shelf) -> list[str]:
    """Every file under models/, sorted."""
    files = (path for path in shelf.models_dir.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(shelf.models_dir)) for path in files)


def test_a_pull_tells_its_steps_and_serves_the_model(
    hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes
) -> None:
    digest = hub.add_ollama("library/llama3:8b", ("model", weights), ("template", b"{{ .Prompt }}"))
    events = pull(pulls, "llama3:8b")
    done = {"digest": f"sha256:{sha256(weights)}", "total": len(weights)}
    steps = [event for event in events if event.get("completed", 0) in (0, len(weights))]
    assert list(dict.fromkeys(event["status"] for event in steps)) == [
        "pulling manifest",
        f"pulling {sha256(weights)[:12]}",
        "trying the model",
        "writing manifest",
        "success",
    ]
    assert all({"digest": e["digest"], "total": e["total"]} == done for e in events if "digest" in e)
    found = shelf.find("llama3:8b")
    assert found
    assert (found.name, found.broken, found.digest, found.origin) == (
        *("llama3:8b", "", digest),
        "registry.ollama.ai/library/llama3:8b",
    )
    assert lying(shelf) == [f"blobs/sha256-{sha256(weights)}.gguf", "manifests/llama3%3A8b.json"]


def test_a_pull_without_a_tag_is_the_latest(hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes) -> None:
    hub.add_ollama("library/llama3:latest", ("model", weights))
    pull(pulls, "llama3")
    pull(pulls, "llama3:latest")
    assert [model.name for model in shelf.scan()] == ["llama3"]
    assert shelf.find("llama3:latest")


def test_what_is_here_is_not_fetched_again(hub: Hub, pulls: Pulls, weights: bytes) -> None:
    hub.add_ollama("library/a:latest", ("model", weights), ("system", b"Be brief."))
    hub.add_ollama("library/b:latest", ("model", weights))
    pull(pulls, "a")
    hub.asked.clear()
    assert [event["status"] for event in pull(pulls, "a")] == ["pulling manifest", "success"]
    pull(pulls, "b")
    assert sha256(weights) not in str(hub.fetched())


def test_shards_and_projector_come_from_hugging_face(
    hub: Hub, pulls: Pulls, shelf: Shelf, tmp_path: Path
) -> None:
    parts = gguf_files.shards(tmp_path / "big-Q4_K_M.gguf", 2)
    eyes = gguf_files.projector(tmp_path / "mmproj-big-F16.gguf", width=8)
    hub.add_repository("org/big-GGUF", {path.name: path.read_bytes() for path in [*parts, eyes]})
    tried: list[tuple[Path, Path | None]] = []

    async def trial(path: Path, mmproj: Path | None) -> str:
        tried.append((path, mmproj))
        return ""

    pull(Pulls(shelf, hub.connect(), trial=trial), "hf.co/org/big-GGUF:Q4_K_M")
    found = shelf.find("hf.co/org/big-GGUF:Q4_K_M")
    assert found
    assert (found.broken, len(found.files)) == ("", 2)
    assert tried == [(found.path, found.mmproj)]
    assert [path.name for path in found.files] == ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]


def test_a_known_misfit_is_pulled_from_where_it_works(
    hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes
) -> None:
    hub.add_repository("ggml-org/gemma-4-E4B-it-GGUF", {"gemma-4-E4B-it-Q4_K_M.gguf": weights})
    events = pull(pulls, "gemma4:e4b")
    assert events[0] == {
        "status": "gemma4:e4b does not run in llama.cpp as Ollama packs it; "
        "pulling hf.co/ggml-org/gemma-4-E4B-it-GGUF"
    }
    assert [model.name for model in shelf.scan()] == ["gemma4:e4b"]


def test_a_model_that_does_not_work_is_not_kept(hub: Hub, shelf: Shelf, weights: bytes) -> None:
    hub.add_ollama("library/odd:latest", ("model", weights))

    async def trial(_path: Path, _mmproj: Path | None) -> str:
        return "has the wrong number of tensors"

    with pytest.raises(
        Unusable, match=r"odd was fetched from .* and does not work here: it has the wrong number"
    ):
        pull(Pulls(shelf, hub.connect(), trial=trial), "odd")
    assert lying(shelf) == []


def test_a_file_that_is_no_model_is_not_kept(hub: Hub, pulls: Pulls, shelf: Shelf) -> None:
    hub.add_ollama("library/odd:latest", ("model", b"not a model at all"))
    with pytest.raises(Unusable, match=r"it is not a GGUF file"):
        pull(pulls, "odd")
    assert lying(shelf) == []


def test_without_memory_to_try_it_the_model_is_kept_untried(hub: Hub, shelf: Shelf, weights: bytes) -> None:
    hub.add_ollama("library/m:latest", ("model", weights))

    async def trial(_path: Path, _mmproj: Path | None) -> str:
        raise NoNodeReady("no memory came free")

    events = pull(Pulls(shelf, hub.connect(), trial=trial), "m")
    assert {"status": "not tried: no memory came free"} in events
    assert shelf.find("m")


def test_a_model_larger_than_the_memory_is_refused_before_it_is_fetched(
    hub: Hub, shelf: Shelf, weights: bytes
) -> None:
    hub.add_ollama("library/m:latest", ("model", weights))
    with pytest.raises(BadRequest, match=r"needs more than .* GB of memory"):
        pull(Pulls(shelf, hub.connect(), memory_bytes=1000), "m")
    assert hub.fetched()[1:] == []  # the manifest's configuration alone


def test_two_who_pull_the_same_share_one_pull(hub: Hub, pulls: Pulls, weights: bytes) -> None:
    hub.add_ollama("library/m:latest", ("model", weights))

    async def both() -> list[list[dict[str, Any]]]:
        assert pulls.start("m") is pulls.start("registry.ollama.ai/library/m")
        return await asyncio.gather(follow(pulls, "m"), follow(pulls, "m:latest"))

    first, second = asyncio.run(both())
    assert first[-1] == second[-1] == {"status": "success"}
    assert sum(sha256(weights) in path for path, _ in hub.fetched()) == 1


def test_two_models_of_one_file_fetch_it_once(hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes) -> None:
    for name in "ab":
        hub.add_ollama(f"library/{name}:latest", ("model", weights), ("system", name.encode()))

    async def both() -> None:
        await asyncio.gather(follow(pulls, "a"), follow(pulls, "b"))

    asyncio.run(both())
    assert sum(sha256(weights) in path for path, _ in hub.fetched()) == 1
    assert [model.name for model in shelf.scan()] == ["a", "b"]


def test_the_last_who_leaves_stops_the_pull_and_it_goes_on_later(
    hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes
) -> None:
    hub.add_ollama("library/m:latest", ("model", weights))
    hub.gate = threading.Event()

    async def leave() -> None:
        job = pulls.start("m")
        events = job.follow()
        async for event in events:
            if event.get("digest"):
                break
        assert not job.done
        await events.aclose()
        with pytest.raises(Cancelled):
            await job.wait()

    asyncio.run(leave())
    assert shelf.scan() == ()
    hub.gate.set()
    assert pull(pulls, "m")[-1] == {"status": "success"}


def test_a_pull_again_after_leaving_is_a_new_one(hub: Hub, pulls: Pulls, weights: bytes) -> None:
    hub.add_ollama("library/m:latest", ("model", weights))

    async def again() -> dict[str, Any]:
        job = pulls.start("m")
        job.cancel()
        events = await follow(pulls, "m")
        with suppress(Cancelled):
            await job.wait()
        return events[-1]

    assert asyncio.run(again()) == {"status": "success"}


def test_an_update_keeps_the_old_version_until_it_is_removed(
    hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes
) -> None:
    first = hub.add_ollama("library/m:latest", ("model", weights))
    pull(pulls, "m")
    newer = weights + b"newer"
    second = hub.add_ollama("library/m:latest", ("model", newer))

    async def update() -> None:
        await (await pulls.update("m")).wait()

    asyncio.run(update())
    model, manifest = asyncio.run(pulls.show("m"))
    assert manifest
    assert (model.digest, [version.digest for version in manifest.previous]) == (second, [first])
    assert len(lying(shelf)) == 3
    with pytest.raises(ModelNotFound, match=r"m has no earlier version 'ffff'; there is: " + first[:12]):
        asyncio.run(pulls.remove("m", version="ffff"))
    assert asyncio.run(pulls.remove("m", version=first[:12])) == len(weights)
    assert lying(shelf) == [f"blobs/sha256-{sha256(newer)}.gguf", "manifests/m.json"]
    assert asyncio.run(pulls.show("m"))[0].digest == second


def test_an_update_that_fails_leaves_the_old_version(
    hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes
) -> None:
    first = hub.add_ollama("library/m:latest", ("model", weights))
    pull(pulls, "m")
    hub.add_ollama("library/m:latest", ("model", b"rubbish"))
    before = lying(shelf)
    with pytest.raises(Unusable):
        pull(pulls, "m")
    assert lying(shelf) == before
    assert shelf.scan()[0].digest == first


def test_removing_leaves_what_others_share(hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes) -> None:
    for name in "ab":
        hub.add_ollama(f"library/{name}:latest", ("model", weights), ("system", name.encode()))
        pull(pulls, name)
    assert asyncio.run(pulls.remove("a:latest")) == 0
    assert [model.name for model in shelf.scan()] == ["b"]
    assert asyncio.run(pulls.remove("b")) == len(weights)
    assert lying(shelf) == []


def test_removing_ends_it_on_the_engine_and_takes_own_files_too(
    hub: Hub, shelf: Shelf, tmp_path: Path
) -> None:
    gguf_files.shards(shelf.models_dir / "big.gguf", 2)
    unloaded: list[str] = []
    pulls = Pulls(shelf, hub.connect(), unload=unloaded.append)
    assert asyncio.run(pulls.remove("big")) > 0
    assert (unloaded, lying(shelf)) == (["big"], [])


def test_what_is_not_here_is_told(pulls: Pulls, shelf: Shelf, tiny_gguf: Path) -> None:
    (shelf.models_dir / "own.gguf").write_bytes(tiny_gguf.read_bytes())
    calls: list[tuple[Callable[[str], Awaitable[Any]], str, str]] = [
        (pulls.show, "x", "there is no model 'x' here"),
        (pulls.remove, "x", "there is no model 'x' here"),
        (pulls.update, "x", "there is no model 'x' here; `casona pull x` fetches it"),
        (pulls.update, "own", "own is a file of your own"),
    ]
    for call, name, message in calls:
        with pytest.raises(CasonaError, match=message):
            asyncio.run(_awaited(call, name))


async def _awaited(call: Callable[[str], Awaitable[Any]], name: str) -> Any:
    return await call(name)


def test_what_is_being_pulled_is_not_removed(hub: Hub, pulls: Pulls, weights: bytes) -> None:
    hub.add_ollama("library/m:latest", ("model", weights))
    pull(pulls, "m")
    hub.add_ollama("library/m:latest", ("model", weights + b"x"))
    hub.gate = threading.Event()

    async def remove_meanwhile() -> None:
        job = pulls.start("m")
        with pytest.raises(Conflict, match=r"m is being pulled"):
            await pulls.remove("m")
        await pulls.stop()
        assert job.done

    asyncio.run(remove_meanwhile())


def test_an_unknown_model_is_told(pulls: Pulls) -> None:
    with pytest.raises(NotFound, match=r"has no model 'nothing'"):
        pull(pulls, "nothing")


def test_a_manifest_that_cannot_be_written_leaves_the_old(
    hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hub.add_ollama("library/m:latest", ("model", weights))
    pull(pulls, "m")
    hub.add_ollama("library/m:latest", ("model", weights), ("system", b"new"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("casona.engine.manifest.os.fsync", full)
    with pytest.raises(OutOfSpace):
        pull(pulls, "m")
    assert shelf.scan()[0].digest == first
    assert [name for name in lying(shelf) if ".new-" in name] == []


PULLER = """
import asyncio, sys
from pathlib import Path
from casona.engine.hub.hubs import connect
from casona.engine.pulls import Pulls
from casona.engine.shelf import Shelf

async def main():
    await Pulls(Shelf(Path(sys.argv[1])), connect(ollama_url=sys.argv[2])).start("m").wait()

asyncio.run(main())
"""


def test_a_killed_pull_leaves_the_old_model_and_goes_on(
    hub: Hub, pulls: Pulls, shelf: Shelf, weights: bytes
) -> None:
    first = hub.add_ollama("library/m:latest", ("model", weights))
    pull(pulls, "m")
    newer = weights + bytes(3_000_000)
    second = hub.add_ollama("library/m:latest", ("model", newer))
    hub.gate = threading.Event()
    partial = shelf.models_dir / f"blobs/sha256-{sha256(newer)}.gguf.partial"
    with subprocess.Popen([sys.executable, "-c", PULLER, str(shelf.models_dir), hub.url]) as puller:
        deadline = time.monotonic() + 20
        while not partial.exists() and time.monotonic() < deadline:
            assert puller.poll() is None
        os.kill(puller.pid, signal.SIGKILL)
    assert Shelf(shelf.models_dir).scan()[0].digest == first
    hub.gate.set()
    pull(pulls, "m")
    assert Shelf(shelf.models_dir).scan()[0].digest == second


def test_leftovers_are_swept_after_a_week_and_what_is_needed_stays(
    hub: Hub, pulls: Pulls, shelf: Shelf, tmp_path: Path, weights: bytes
) -> None:
    parts = gguf_files.shards(tmp_path / "big.gguf", 2)
    hub.add_repository("org/big", {path.name: path.read_bytes() for path in parts})
    hub.add_ollama("library/m:latest", ("model", weights))
    for name in ("m", "hf.co/org/big"):
        pull(pulls, name)
    needed = lying(shelf)
    for name in ("sha256-x.gguf.partial", "sha256-x.gguf.partial.json", "sha256-y.gguf", "set-z/model.gguf"):
        path = shelf.models_dir / "blobs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left")
    blobs = Blobs(shelf.manifests)
    blobs.sweep()
    assert len(lying(shelf)) == len(needed) + 4
    blobs.sweep(now_s=time.time() + KEPT_S + 60)
    assert lying(shelf) == needed


def test_nothing_is_swept_when_it_is_not_known_what_is_needed(shelf: Shelf) -> None:
    manifests = Manifests(shelf.models_dir)
    manifests.dir.mkdir()
    manifests.path("m").write_text("{")
    left = shelf.models_dir / "blobs" / "sha256-x.gguf"
    left.parent.mkdir()
    left.write_bytes(b"the model of m, perhaps")
    Blobs(manifests).sweep(now_s=time.time() + KEPT_S + 60)
    assert left.exists()
