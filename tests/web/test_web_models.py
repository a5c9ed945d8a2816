"""The routes for models, and the commands that use them, over a real server and a hub on this machine."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from tests.engine import hub_server
from tests.engine.hub_server import Hub, sha256
from tests.web.admin_house import listening

from casona.cli import main
from casona.cli.client import Client
from casona.cli.output import CliError
from casona.engine.hub.download import Patience
from casona.engine.pulls import Pulls
from casona.engine.shelf import Shelf
from casona.exchange.errors import CasonaError, ModelNotFound, NodeFailed
from casona.exchange.keys import Key
from casona.web.models_admin import models_router


@dataclass
class House:
    """A server with the routes for models alone. `loaded` are the models that were loaded, in order."""

    shelf: Shelf
    url: str = ""
    loaded: list[str] = field(default_factory=list)

    async def load(self, name: str) -> None:
        await asyncio.sleep(0)
        if name == "stubborn":
            raise NodeFailed("the model 'stubborn' cannot be loaded: it is broken")
        if not self.shelf.find(name.removesuffix("@engine")):
            raise ModelNotFound(f"no node has the model {name!r}")
        self.loaded.append(name)


@pytest.fixture
def hub(tiny_gguf: Path) -> Iterator[Hub]:
    with hub_server.running() as hub:
        layers = [
            ("model", tiny_gguf.read_bytes()),
            ("license", b"MIT License\n\nPermission"),
            ("system", b"Be brief."),
        ]
        hub.add_ollama("library/tiny:1b", *layers, ("params", b'{"temperature": 0.5}'))
        yield hub


@pytest.fixture
def house(tmp_path: Path, hub: Hub) -> Iterator[House]:
    house = House(Shelf(tmp_path))
    pulls = Pulls(house.shelf, hub.connect(), patience=Patience(tries=2, wait_s=0.01))

    def caller(request: Request) -> Key:
        admin = request.headers.get("authorization") == "Bearer admin"
        return Key(id="1", name="k", prefix="csn-", created=0, admin=admin)

    app = FastAPI()
    app.include_router(models_router(pulls, house.load, caller))
    app.add_exception_handler(CasonaError, _told)
    with listening(app) as house.url:
        yield house


def _told(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, CasonaError)
    return JSONResponse({"error": {"message": str(fault), "param": fault.param}}, fault.status)


@pytest.fixture
def admin(house: House) -> Client:
    return Client(house.url, "admin")


def run(house: House, *words: str, answer: str | None = None) -> Result:
    environment = {"CASONA_URL": house.url, "CASONA_API_KEY": "admin"}
    return CliRunner().invoke(main, words, env=environment, input=answer)


def follow(admin: Client, verb: str, name: str) -> list[dict[str, Any]]:
    return list(admin.stream_lines(f"/admin/models/{verb}", {"name": name}))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/models"),
        ("GET", "/admin/models/tiny"),
        ("DELETE", "/admin/models/tiny"),
        ("POST", "/admin/models/pull"),
        ("GET", "/admin/recommendations"),
    ],
)
def test_only_an_admin_may(house: House, method: str, path: str) -> None:
    body = {"name": "tiny:1b"} if method == "POST" else None
    with pytest.raises(CliError, match=r"^this needs an admin key$"):
        list(Client(house.url, "other").stream_lines(path, body, method=method))
    assert house.shelf.scan() == ()


def test_a_model_is_pulled_shown_and_removed(
    hub: Hub, admin: Client, tiny_gguf: Path, tmp_path: Path
) -> None:
    size = tiny_gguf.stat().st_size
    assert follow(admin, "pull", "tiny:1b")[-1] == {"status": "success"}
    (listed,) = admin.get_json("/admin/models")["models"]
    assert {**listed, "modified": 0, "digest": ""} == {
        "name": "tiny:1b",
        "size_bytes": size,
        "modified": 0,
        "digest": "",
        "origin": "registry.ollama.ai/library/tiny:1b",
        "architecture": "llama",
        "parameters": 116_032,
        "quantisation": "F32",
        "context_tokens": 8192,
        "embeds": False,
        "vision": False,
        "broken": "",
    }
    shown = admin.get_json("/admin/models/tiny%3A1b")
    assert (shown["license"], shown["system"]) == ("MIT License\n\nPermission", "Be brief.")
    assert (shown["parameters_set"], shown["previous"]) == ({"temperature": 0.5}, [])
    assert shown["files"] == [str(tmp_path / f"blobs/sha256-{sha256(tiny_gguf.read_bytes())}.gguf")]
    assert shown["template"].startswith("{%- if tools %}")
    assert admin.delete("/admin/models/tiny:1b") == {"name": "tiny:1b", "freed_bytes": size}
    assert admin.get_json("/admin/models") == {"models": []}


def test_a_pull_that_fails_says_why(admin: Client) -> None:
    with pytest.raises(CliError, match=r"has no model 'nothing'"):
        follow(admin, "pull", "nothing")
    with pytest.raises(CliError, match=r"'a b' is not the name of a model"):
        follow(admin, "pull", "a b")
    with pytest.raises(CliError, match=r"there is no model 'nothing' here"):
        follow(admin, "update", "nothing")


def test_a_file_of_ones_own_is_listed_with_what_is_wrong(house: House, admin: Client) -> None:
    (house.shelf.models_dir / "odd.gguf").write_text("hello")
    (listed,) = admin.get_json("/admin/models")["models"]
    assert (listed["name"], listed["origin"], listed["broken"]) == ("odd", "file", "is not a GGUF file")


# The commands


def test_pull_prints_its_steps_and_what_to_do_next(house: House) -> None:
    done = run(house, "pull", "tiny:1b")
    assert (done.exit_code, done.stdout) == (0, "tiny:1b is ready: casona chat tiny:1b\n")
    assert done.stderr.splitlines()[0] == "pulling manifest"
    assert done.stderr.splitlines()[-2:] == ["writing manifest", "success"]


def test_pull_for_programs_prints_objects(house: House) -> None:
    done = run(house, "pull", "tiny:1b", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (events[0], events[-1]) == ({"status": "pulling manifest"}, {"status": "success"})


def test_pull_without_a_name_says_what_it_wants(house: House) -> None:
    done = run(house, "pull")
    assert done.exit_code == 2
    assert "name a model, such as llama3:8b, or ask with --recommend" in done.stderr


def test_pull_recommends(house: House) -> None:
    told = json.loads(run(house, "pull", "--recommend", "--json").stdout)
    fitting = [model["name"] for model in told["models"] if model["fits"]]
    assert told["recommended"] == (fitting[-1] if fitting else None)
    printed = run(house, "pull", "--recommend").stdout
    assert all(model["name"] in printed for model in told["models"])
    assert f"This machine has {told['memory_bytes'] / 1e9:.1f} GB of memory." in printed


def test_models_are_listed_and_shown(house: House) -> None:
    assert "no models yet" in run(house, "models", "list").stderr
    run(house, "pull", "tiny:1b")
    assert [model["name"] for model in json.loads(run(house, "models", "list", "--json").stdout)] == [
        "tiny:1b"
    ]
    head, row = run(house, "models", "list").stdout.splitlines()
    assert head.split() == ["name", "size", "quantisation", "context", "from", "changed", "problem"]
    assert row.split()[:5] == ["tiny:1b", "0.5", "MB", "F32", "8,192"]
    shown = run(house, "models", "show", "tiny:1b").stdout
    for line in ("licence       MIT License", "context       8,192 tokens", "settings      temperature=0.5"):
        assert line in shown.splitlines()
    assert "\nsystem:\nBe brief.\n" in shown


def test_an_update_goes_on_after_a_failure(house: House, hub: Hub, tiny_gguf: Path) -> None:
    run(house, "pull", "tiny:1b")
    done = run(house, "models", "update", "nothing", "tiny:1b")
    assert (done.exit_code, done.stdout) == (1, "tiny:1b: up to date\n")
    assert "nothing: there is no model 'nothing' here" in done.stderr
    assert run(house, "models", "update", "--all").exit_code == 0
    assert run(house, "models", "update").exit_code == 2


def test_remove_asks_first(house: House, tiny_gguf: Path) -> None:
    run(house, "pull", "tiny:1b")
    assert run(house, "models", "remove", "tiny:1b", answer="n\n").exit_code == 130
    assert house.shelf.find("tiny:1b")
    done = run(house, "models", "remove", "tiny:1b", "--yes")
    assert (done.exit_code, done.stdout) == (0, "removed tiny:1b: 0.5 MB freed\n")
    assert house.shelf.scan() == ()


def test_warm_pulls_what_is_missing_and_goes_on_after_a_failure(house: House) -> None:
    done = run(house, "warm", "stubborn", "tiny:1b", "tiny:1b@engine", "elsewhere@nas")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "stubborn: the model 'stubborn' cannot be loaded: it is broken",
        "tiny:1b: ready",
        "tiny:1b@engine: ready",
        "elsewhere@nas: no node has the model 'elsewhere@nas'",
        "2 of 4 ready",
    ]
    assert house.loaded == ["tiny:1b", "tiny:1b@engine"]


def test_warm_for_programs(house: House) -> None:
    done = run(house, "warm", "tiny:1b", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"name": "tiny:1b", "ok": True, "problem": ""})
