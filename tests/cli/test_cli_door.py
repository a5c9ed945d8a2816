"""The ways into a house."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.web.admin_house import INSTANCE, House, admin_house

from casona.cli.door import CliError, open_door
from casona.home import Home, HouseInUse, write_private

NO_ENGINE = "engine: {enabled: false}\ndiscovery: {ollama: false}\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "house")
    home.create()
    return home


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    other = Home(tmp_path / "other")
    other.create()
    with admin_house(other) as house:
        yield house


def key_names(home: Home, environ: dict[str, str]) -> list[str]:
    with open_door(home, environ) as door:
        return [key["name"] for key in door.get_json("/admin/keys")["keys"]]


def test_the_running_server_is_found(house: House) -> None:
    with house.home.announced(house.url, INSTANCE):
        assert key_names(house.home, {}) == ["admin"]


def test_a_house_elsewhere_is_asked_with_its_key(home: Home, house: House) -> None:
    environ = {"CASONA_URL": house.url, "CASONA_API_KEY": house.api_key}
    assert key_names(home, environ) == ["admin"]
    assert not home.database_path.exists()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"CASONA_URL": "http://somewhere:8080"},
            "CASONA_URL names a house elsewhere; put a key of it into CASONA_API_KEY",
        ),
        (
            {"CASONA_URL": "somewhere:8080", "CASONA_API_KEY": "csn-x"},
            "CASONA_URL is 'somewhere:8080'; it must look like http://192.168.1.5:8080",
        ),
    ],
)
def test_a_house_elsewhere_must_be_named_whole(home: Home, environ: dict[str, str], message: str) -> None:
    with pytest.raises(CliError) as told:
        open_door(home, environ)
    assert str(told.value) == message


def test_a_house_whose_admin_key_is_gone_says_what_to_do(house: House) -> None:
    house.home.admin_key_path.unlink()
    with house.home.announced(house.url, INSTANCE):
        with pytest.raises(
            CliError, match=r"admin\.key is missing; put a key of this house into CASONA_API_KEY"
        ):
            open_door(house.home, {})
        assert key_names(house.home, {"CASONA_API_KEY": house.api_key}) == ["admin"]


def test_no_key_goes_to_a_program_that_took_over_the_port(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The house is locked, so that nothing else can be opened: the door must give up."""
    monkeypatch.setattr("casona.cli.door.STARTING_S", 0.2)
    announced = house.home.announced(house.url, "another-instance")
    with house.home.lock("casona serve"), announced, pytest.raises(HouseInUse, match=r"\(casona serve\)"):
        open_door(house.home, {})


def test_a_house_without_a_server_is_opened_for_the_command_alone(home: Home) -> None:
    home.config_path.write_text(NO_ENGINE)
    dead = {"url": "http://127.0.0.1:9", "pid": 1, "instance": "x"}
    write_private(home.server_json, json.dumps(dead))
    assert key_names(home, {}) == ["admin"]
    with home.lock():
        assert home.announcement() is None
