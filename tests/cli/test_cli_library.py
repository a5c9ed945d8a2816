"""`casona ingest`, `search`, `ask` and `library` against a running house."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.web.reading_house import ABEJAS, BEES, Reading, reading_house

from casona.cli import main, uploads, walk
from casona.cli.client import Client
from casona.cli.output import CliError

Casona = Callable[..., str]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    with reading_house(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture
def casona(house: Reading) -> Casona:
    def run(*arguments: object, code: int = 0) -> str:
        words = ["--home", str(house.house.home.path), *map(str, arguments)]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == code, result.output
        return result.stderr if code > 1 or (code and not result.stdout) else result.stdout

    return run


def ingested(casona: Casona, *arguments: object, code: int = 0) -> dict[str, str]:
    """Outcome by file name, in the order told."""
    lines = casona("ingest", *arguments, "--json", code=code).splitlines()
    told = [json.loads(line) for line in lines]
    assert all(one.keys() == {"path", "outcome", "document", "reason"} for one in told)
    return {Path(one["path"]).name: one["outcome"] for one in told}


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_directory_is_taken_once_and_changes_are_followed(casona: Casona, tmp_path: Path) -> None:
    folder = written(tmp_path, bees_md=BEES, deep__er__abejas_md=ABEJAS)
    assert ingested(casona, folder, "--collection", "once") == {"bees.md": "stored", "abejas.md": "stored"}
    assert ingested(casona, folder, "--collection", "once") == {
        "bees.md": "unchanged",
        "abejas.md": "unchanged",
    }
    written(tmp_path, bees_md=BEES + "Drones do not sting.\n")
    assert ingested(casona, folder, "--collection", "once") == {
        "bees.md": "updated",
        "abejas.md": "unchanged",
    }


def test_what_is_refused_is_told_and_the_rest_is_taken(casona: Casona, tmp_path: Path) -> None:
    folder = written(tmp_path, a_xyz="?", b_txt="", c_md=BEES)
    shown = casona("ingest", folder, "--collection", "refusals", code=1)
    assert shown == (
        f"refused    {folder}/a.xyz: unknown format .xyz: taken are .pdf, .docx, .txt, .md and .html\n"
        f"refused    {folder}/b.txt: it is empty (0 bytes)\n"
        f"stored     {folder}/c.md\n"
    )
    assert [one["source"] for one in listed(casona, "refusals")] == [f"{folder}/c.md"]


def test_more_files_than_are_sent_at_once_come_in_order(casona: Casona, tmp_path: Path) -> None:
    names = [f"{number:03}.txt" for number in range(uploads.READ_AHEAD + 5)]
    for name in names:
        (tmp_path / name).write_text(f"This is note {name}.")
    assert list(ingested(casona, tmp_path, "--collection", "order")) == names


def test_pruning_removes_only_what_is_gone_below_the_roots(casona: Casona, tmp_path: Path) -> None:
    written(tmp_path, here__a_md=BEES, here__b_md=BEES + "b", there__c_md=BEES + "c", hereby_md=BEES + "d")
    ingested(casona, tmp_path, "--collection", "pruned")
    ingested(casona, tmp_path, "--collection", "not pruned")
    for gone in ("here/b.md", "there/c.md", "hereby.md"):
        (tmp_path / gone).unlink()
    told = ingested(casona, tmp_path / "here", "--collection", "pruned", "--prune")
    assert told == {"a.md": "unchanged", "b.md": "removed"}
    left = [Path(one["source"]).name for one in listed(casona, "pruned")]
    assert left == ["a.md", "hereby.md", "c.md"]
    assert len(listed(casona, "not pruned")) == 4


def test_pruning_a_collection_that_is_not_there_is_no_error(casona: Casona, tmp_path: Path) -> None:
    assert ingested(casona, tmp_path, "--collection", "never", "--prune") == {}


def test_a_path_that_is_not_there_is_told_before_anything_is_sent(casona: Casona, tmp_path: Path) -> None:
    assert "does not exist" in casona("ingest", tmp_path / "nothing", code=2)


def listed(casona: Casona, collection: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(casona("library", "list", "--collection", collection, "--json"))
    return found


def test_the_library_is_listed_shown_and_emptied(casona: Casona, tmp_path: Path) -> None:
    path = written(tmp_path, bees_md=BEES) / "bees.md"
    ingested(casona, path, "--collection", "shown")
    assert casona("library", "list", "--collection", "shown").splitlines()[0].split() == [
        *("document", "collection", "pages", "passages", "language", "size", "updated"),
    ]
    (document,) = listed(casona, "shown")
    for name in (path, os.path.relpath(path), document["id"]):
        assert json.loads(casona("library", "show", name, "--json")) == document
    shown = dict(line.split(maxsplit=1) for line in casona("library", "show", path).splitlines())
    assert (shown["title"], shown["passages"], shown["size"]) == ("Bees", "1", f"{len(BEES)} bytes")
    assert casona("library", "remove", path, "--yes") == f"removed {path} from shown\n"
    assert listed(casona, "shown") == []
    assert path.exists()


def test_removing_wants_a_yes(casona: Casona, tmp_path: Path) -> None:
    path = written(tmp_path, bees_md=BEES) / "bees.md"
    ingested(casona, path, "--collection", "kept")
    assert casona("library", "remove", path, code=1) == ("casona: nobody is here to confirm it; say --yes\n")
    assert len(listed(casona, "kept")) == 1


def test_a_document_in_two_collections_is_named_by_its_id(casona: Casona, tmp_path: Path) -> None:
    path = written(tmp_path, bees_md=BEES) / "bees.md"
    for collection in ("one", "two"):
        ingested(casona, path, "--collection", collection)
    ids = {one["collection"]: one["id"] for name in ("one", "two") for one in listed(casona, name)}
    assert casona("library", "remove", path, "--yes", code=1) == (
        f"casona: '{path}' is several documents; name one by its id: "
        + ", ".join(sorted(f"{id_} in {name}" for name, id_ in ids.items()))
        + "\n"
    )
    casona("library", "remove", path, "--collection", "one", "--yes")
    casona("library", "remove", ids["two"], "--yes")
    assert casona("library", "show", path, code=1) == (
        f"casona: there is no document '{path}'; `casona library list` shows them\n"
    )


def test_a_question_is_answered_with_its_sources(casona: Casona, tmp_path: Path) -> None:
    path = written(tmp_path, abejas_md=ABEJAS) / "abejas.md"
    ingested(casona, path, "--collection", "preguntas")
    question = "¿Cuántos huevos pone la abeja reina al día?"
    assert casona("ask", question, "--collection", "preguntas") == (
        "“La abeja reina pone hasta dos mil huevos al día en la cámara de cría de la colmena.” [1]\n\n"
        f"[1] {path} p. 1 (0-{len(ABEJAS.strip())})\n"
    )
    told = json.loads(casona("ask", question, "--collection", "preguntas", "--extracts", "--json"))
    assert (told["mode"], told["model"], [one["source"] for one in told["sources"]]) == (
        "extracts",
        None,
        [str(path)],
    )


def test_a_question_that_cannot_be_asked_is_one_line(casona: Casona) -> None:
    assert casona("ask", "Why?", "--collection", "nope", code=1) == (
        "casona: there is no collection 'nope'\n"
    )


def test_passages_are_found(casona: Casona, tmp_path: Path) -> None:
    path = written(tmp_path, bees_md=BEES) / "bees.md"
    ingested(casona, path, "--collection", "searched")
    (hit,) = json.loads(casona("search", "queen bee", "--collection", "searched", "--json"))
    assert (hit["source"], hit["start"], hit["content"]) == (str(path), 0, BEES.strip())
    assert casona("search", "queen bee", "--collection", "searched") == (
        f"[1] {path} p. 1 (0-{hit['end']})  Bees\n    {' '.join(BEES.split())}\n\n"
    )


# --- which files are meant


def test_hidden_files_links_out_and_what_is_no_file_are_passed_over(tmp_path: Path) -> None:
    outside = written(tmp_path / "outside", secret_md=BEES)
    root = written(tmp_path / "root", a_md=BEES, b__c_md=BEES, b__x_md=BEES)
    written(root / ".git", config_md=BEES)
    (root / ".hidden.md").write_text(BEES)
    (root / "link-out.md").symlink_to(outside / "secret.md")
    (root / "link-in.md").symlink_to(root / "a.md")
    (root / "loop").symlink_to(root)
    (root / "broken.md").symlink_to(root / "nothing.md")
    os.mkfifo(root / "pipe.md")
    assert [path.relative_to(root).as_posix() for path in walk.files([root])] == [
        *("a.md", "link-in.md", "b/c.md", "b/x.md"),
    ]


def test_what_is_named_is_meant_and_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = written(tmp_path, b_md=BEES)
    (root / ".hidden.md").write_text(BEES)
    monkeypatch.chdir(tmp_path)
    found = list(walk.files([Path(".hidden.md"), Path(), Path("../", tmp_path.name, "b.md")]))
    assert found == [root / ".hidden.md", root / "b.md"]


def test_what_cannot_be_looked_at_is_not_gone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    gone = [walk.is_gone(str(tmp_path / name)) for name in ("nothing", "file", "file/below", "a" * 999)]
    assert gone == [True, False, True, False]


# --- files on their way


class Server:
    """Answers `put_file` with what it is given, a failure for each status before that."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)

    def put_file(self, _path: str, _file: object, **_: object) -> dict[str, str]:
        if self.statuses:
            fault = CliError("it has just died")
            fault.status = self.statuses.pop(0)
            raise fault
        return {"outcome": "stored"}


def sent(path: Path, *statuses: int) -> Any:
    server: Any = Server(*statuses)
    (outcome,) = uploads.sent(server, [path], None, lambda _: None)
    return outcome


def test_a_library_that_has_just_died_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "AGAIN_AFTER_S", (0.0, 0.0))
    path = written(tmp_path, a_md=BEES) / "a.md"
    assert sent(path, 503, 503) == {"outcome": "stored"}
    with pytest.raises(CliError, match="it has just died"):
        sent(path, 503, 503, 503)


@pytest.mark.parametrize("status", [401, 403, 500, 507])
def test_what_is_not_the_files_fault_ends_the_command(tmp_path: Path, status: int) -> None:
    with pytest.raises(CliError, match="it has just died"):
        sent(written(tmp_path, a_md=BEES) / "a.md", status)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("\udcff.md", "its name is not UTF-8; rename it"), ("pipe", "it is not a file")],
)
def test_a_file_that_cannot_be_sent_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    told = sent(tmp_path / name, 500)
    assert told == {"path": told["path"], "outcome": "refused", "document": None, "reason": reason}
    assert told["path"].encode()


def test_hanging_up_ends_requests_that_wait_in_other_threads() -> None:
    said: list[str] = []

    def ask(client: Client) -> None:
        try:
            client.get_json("/x")
        except CliError as fault:
            said.append(str(fault))

    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = Client(f"http://127.0.0.1:{mute.getsockname()[1]}", "")
        waiting = threading.Thread(target=ask, args=(client,))
        waiting.start()
        line, _ = mute.accept()
        assert line.recv(1000).startswith(b"GET /x ")
        client.hang_up()
        waiting.join(10)
        has_ended = not waiting.is_alive()
        line.close()
    assert has_ended
    assert said[0].startswith("the server at http://127.0.0.1:")
