"""The locks hold what pyproject.toml asks for, with hashes, from no particular place, under good licences."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
CORE = PROJECT["project"]["dependencies"]
ALL = [*CORE, *EXTRAS["engine"], *EXTRAS["library"]]
WANTED = {
    "core": CORE,
    "all": ALL,
    "dev": [*ALL, *GROUPS["build"], *GROUPS["dev"]],
    "build": GROUPS["build"],
    "install": GROUPS["install"],
    "weights": GROUPS["weights"],
}


def _lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def _versions(name: str) -> dict[str, set[str]]:
    """The locked versions of each package; some have one per version of Python."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", _lock(name), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("name", WANTED)
def test_each_lock_holds_what_is_asked_for(name):
    versions = _versions(name)
    missing = [
        wanted
        for wanted in map(Requirement, WANTED[name])
        if not versions.get(wanted.name.lower())
        or not all(wanted.specifier.contains(version) for version in versions[wanted.name.lower()])
    ]
    assert missing == [], "run `make lock`"


@pytest.mark.parametrize("name", WANTED)
def test_each_locked_package_has_hashes_and_no_address(name):
    entries = re.split(r"^(?=[a-z0-9])", _lock(name), flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"https?:|index-url|find-links|file:", _lock(name)) == []


@pytest.mark.parametrize("name", ["core", "all", "build"])
def test_tests_run_on_the_versions_that_users_get(name):
    dev = _versions("dev")
    assert {package: dev.get(package) for package in _versions(name)} == _versions(name)


def test_no_locked_package_binds_its_users():
    script = runpy.run_path(str(ROOT / "scripts" / "check_licences.py"))
    assert script["complaints"](script["locked"]()) == []


@pytest.mark.parametrize(
    ("stated", "binds"),
    [
        ("GPL-3.0-or-later", True),
        ("GNU Affero General Public License v3", True),
        ("GNU Lesser General Public License v2 (LGPLv2)", True),
        ("AGPL-3.0", True),
        ("MIT", False),
        ("Apache Software License", False),
        ("Mozilla Public License 2.0 (MPL 2.0)", False),
    ],
)
def test_binding_licences_are_known_by_their_names(stated, binds):
    script = runpy.run_path(str(ROOT / "scripts" / "check_licences.py"))
    assert bool(script["BINDING"].search(stated)) is binds
