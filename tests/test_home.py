import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from casona.exchange.errors import CasonaError
from casona.home import Announcement, Home, HouseInUse, write_private


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "house")
    home.create()
    return home


HOLDER = """
import sys, pathlib
from casona.home import Home
with Home(pathlib.Path(sys.argv[1])).lock("casona serve"):
    print("held", flush=True)
    sys.stdin.read()
"""


def held(home: Home) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    return holder


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def test_a_new_house_is_closed_to_others(home: Home) -> None:
    assert mode(home.path) == "0o700"


def test_making_a_home_touches_nothing(tmp_path: Path) -> None:
    assert not Home(tmp_path / "house").path.exists()


def test_a_file_is_no_house(tmp_path: Path) -> None:
    (tmp_path / "house").write_text("")
    with pytest.raises(CasonaError, match="house is a file; name a directory with --home"):
        Home(tmp_path / "house").create()


def test_the_second_one_is_told_who_has_the_house(home: Home) -> None:
    with held(home) as holder:
        with pytest.raises(HouseInUse) as refused, home.lock():
            pass
        holder.communicate()
    assert str(refused.value) == (
        f"the house {home.path} is in use by process {holder.pid} (casona serve); "
        "wait until it ends, or stop it"
    )


def test_a_killed_holder_leaves_the_house_free(home: Home) -> None:
    with held(home) as holder:
        holder.kill()
        holder.wait()
        with home.lock("casona ingest"):
            assert home.lock_path.read_text() == f"{os.getpid()} casona ingest\n"


def test_children_do_not_inherit_the_lock(home: Home) -> None:
    with home.lock():
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    with home.lock():
        child.communicate()


def test_a_holder_without_a_name_is_another_process(home: Home) -> None:
    with home.lock():
        home.lock_path.write_text("")
        with pytest.raises(HouseInUse, match="is in use by another process"), home.lock():
            pass


def test_a_server_is_announced_while_it_runs(home: Home) -> None:
    with home.announced("http://127.0.0.1:8080", "abc") as announcement:
        assert announcement == Announcement("http://127.0.0.1:8080", os.getpid(), "abc")
        assert home.announcement() == announcement
        assert mode(home.server_json) == "0o600"
    assert not home.server_json.exists()


def test_another_servers_announcement_is_left(home: Home) -> None:
    with home.announced("http://127.0.0.1:8080", "abc"):
        write_private(home.server_json, json.dumps({"url": "http://b", "pid": 1, "instance": "b"}))
    assert home.announcement() == Announcement("http://b", 1, "b")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"url": 1, "pid": 2, "instance": "x"}', "\x00"])
def test_a_senseless_announcement_is_none(home: Home, text: str) -> None:
    home.server_json.write_text(text)
    assert home.announcement() is None


def test_a_private_file_replaces_an_open_one(home: Home) -> None:
    home.admin_key_path.write_text("old")
    home.admin_key_path.chmod(0o644)
    write_private(home.admin_key_path, "new\n")
    assert (home.admin_key(), mode(home.admin_key_path)) == ("new", "0o600")
    assert [file.name for file in home.path.iterdir()] == ["admin.key"]


def test_a_house_without_an_admin_key_says_so(home: Home) -> None:
    assert home.admin_key() is None
