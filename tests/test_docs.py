"""The pages a user reads are true: printed ones are current, commands exist, links lead somewhere."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from casona.cli import main as casona
from casona.configuration import read

ROOT = Path(__file__).resolve().parent.parent
READMES = ["README.md", "README.es.md"]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _commands(page: str) -> Iterator[list[str]]:
    """The words of every command line in a page, comments and continued lines understood."""
    for block in _blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def _script(name: str) -> dict:
    return runpy.run_path(str(ROOT / "scripts" / name))


def test_the_printed_pages_are_current():
    assert [path.name for path in _script("print_docs.py")["stale"]()] == [], "run `make docs`"


def test_the_manual_among_the_examples_is_as_its_script_writes_it():
    script = _script("make_examples.py")
    assert script["TARGET"].read_bytes() == script["build"](script["PAGES"])


@pytest.mark.parametrize("page", READMES)
def test_every_command_of_the_readme_exists(page):
    verbs = [words[1:] for words in _commands(page) if words[0] == "casona"]
    assert len(verbs) > 5
    assert [" ".join(words) for words in verbs if _not_understood(words)] == []


def _not_understood(words: list[str]) -> str:
    """Why the command line would refuse these words, or "". They are only read, nothing is run."""
    group, context = casona, click.Context(casona, info_name="casona")
    try:
        while isinstance(group, click.Group):
            verb, command, words = group.resolve_command(context, words)
            context = click.Context(command, info_name=verb, parent=context)
            group = command
        group.parse_args(context, words)
    except click.ClickException as fault:
        return fault.format_message()
    return ""


@pytest.mark.parametrize("page", READMES)
def test_every_make_target_of_the_readme_exists(page):
    targets = {words[1] for words in _commands(page) if words[0] == "make" and len(words) > 1}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets - set(re.findall(r"^(\w+):", makefile, re.MULTILINE)) == set()


@pytest.mark.parametrize("page", READMES)
def test_every_example_of_the_readme_is_there(page):
    named = {word for words in _commands(page) for word in words if word.startswith("examples")}
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", READMES)
def test_every_setting_of_the_readme_is_one(page, tmp_path):
    for block in _blocks(page, "yaml"):
        (tmp_path / "casona.yaml").write_text(block, encoding="utf-8")
        assert read(tmp_path, {"DEEPSEEK_API_KEY": "sk-1"}).warnings == ()


def test_both_readmes_show_the_same_commands():
    english, spanish = ([words[:2] for words in _commands(page)] for page in READMES)
    assert english == spanish


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    wanted = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in wanted if not ((ROOT / page).parent / target).exists()] == []
