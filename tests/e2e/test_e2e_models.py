"""The list of models, as it is asked for over HTTP."""

import http.client
import json
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.conftest import Open, Running


def get(house: Running, path: str, **headers: str) -> Any:
    parts = urlsplit(house.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("GET", path, headers=headers)
    said = json.loads(connection.getresponse().read())
    connection.close()
    return said


def names(house: Running) -> list[str]:
    listed = get(house, "/v1/models", authorization=f"Bearer {house.api_key}")
    return [model["id"] for model in listed["data"]]


def test_a_file_that_comes_or_goes_is_soon_seen(open_house: Open, tiny_gguf: Path) -> None:
    house = open_house()
    there = house.house.home.models_dir / "new.gguf"
    shutil.copy(tiny_gguf, there)
    until_listed(house, ["new"])
    there.unlink()
    until_listed(house, [])


@pytest.mark.parametrize("name", ["m", "m@a", "m%40b", "m:latest", "m:latest@b"])
def test_a_model_is_shown_by_every_name_it_answers_to(open_house: Open, name: str) -> None:
    node = {"kind": "vllm", "url": "http://127.0.0.1:9/v1", "models": ["m"]}
    house = open_house(engine={"enabled": False}, nodes=[node | {"name": "a"}, node | {"name": "b"}])
    said = get(house, f"/v1/models/{name}", authorization=f"Bearer {house.api_key}")
    owners = {"@a": "a", "@b": "b"}.get(name.replace("%40", "@")[-2:], "a, b")
    assert said == {"id": name.replace("%40", "@"), "object": "model", "created": 0, "owned_by": owners}


def test_health_tells_no_more_than_its_state_to_whom_a_proxy_speaks_for(open_house: Open) -> None:
    house = open_house(engine={"enabled": False})
    assert "models" in get(house, "/health")
    assert get(house, "/health", **{"x-forwarded-for": "203.0.113.9"}) == {"status": "healthy"}


def until_listed(house: Running, wanted: list[str]) -> None:
    deadline = time.monotonic() + 10
    while names(house) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.1)
