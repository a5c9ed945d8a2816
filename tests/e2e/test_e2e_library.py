"""Documents and questions with the real engine: generated answers, hang-ups, deaths, an embedding model."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.web.reading_house import ABEJAS, BEES, Reading, reading_house

from casona.cli.client import Client
from casona.cli.output import CliError
from casona.home import Home

SOON_S = 1.0
DEADLINE_S = 60.0
QUESTION = "How many eggs does the queen bee lay a day?"


@pytest.fixture
def house(tmp_path: Path, slow_gguf: Path) -> Iterator[Reading]:
    """With a model whose answers take long, and one document."""
    with reading_house(tmp_path, [slow_gguf], engine={"keep_alive": "-1", "threads": 1}) as house:
        house.stored("/life/bees.md", BEES.encode())
        hello = [{"role": "user", "content": "hi"}]
        house.ask("POST", "/v1/chat/completions", {"model": "slow", "messages": hello, "max_tokens": 1})
        yield house


def test_a_model_answers_from_what_was_found(house: Reading) -> None:
    reply = house.ask("POST", "/rag/query", {"question": QUESTION, "stream": True})
    first, *deltas, last = reply.events
    assert (first["mode"], first["model"]) == ("generated", "slow")
    assert [source["source"] for source in first["sources"]] == ["/life/bees.md"]
    assert "".join(delta["delta"] for delta in deltas) == last["answer"] != ""
    row = last_usage(house)
    assert (row["route"], row["model"], row["node"], row["ended"]) == (
        *("rag.query", "slow", "engine", "done"),
    )
    assert row["request_id"] == reply.headers["x-request-id"]
    assert row["prompt_tokens"] > len(BEES) / 8


def test_what_the_documents_do_not_hold_asks_no_model(house: Reading) -> None:
    told = house.ask("POST", "/rag/query", {"question": "Who composed the Barber of Seville?"}).json
    assert (told["sources"], told["mode"]) == ([], "generated")
    assert told["answer"].startswith("I don't have enough information in the provided documents")
    row = last_usage(house)
    assert (row["route"], row["model"], row["node"], row["prompt_tokens"]) == ("rag.query", "extracts", "", 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_hang_up_in_mid_answer_stops_the_engine(house: Reading, stream: bool) -> None:
    with asking(house, {"question": QUESTION, "stream": stream}) as line:
        until(lambda: busy_slots(house) == 1)
        if stream:
            until(lambda: b"delta" in line.recv(65536))
    until(lambda: busy_slots(house) == 0, within_s=SOON_S)
    until(lambda: last_usage(house)["ended"] == "hang_up")
    assert last_usage(house)["route"] == "rag.query"


def test_a_child_killed_in_mid_answer_ends_the_stream_with_an_error(house: Reading) -> None:
    said = b""
    with asking(house, {"question": QUESTION, "stream": True}) as line:
        until(lambda: busy_slots(house) == 1)
        os.kill(loaded(house).child.pid, signal.SIGKILL)
        while b'"error"' not in said:
            piece = line.recv(65536)
            assert piece, said
            said += piece
    last = said.decode().rsplit("data: ", 1)[1].split("\n")[0]
    assert "'slow' stopped in its answer" in json.loads(last)["error"]["message"]
    assert house.ask("POST", "/rag/query", {"question": QUESTION, "mode": "extracts"}).status == 200


def test_an_embedding_model_of_the_engine_finds_what_words_do_not(tmp_path: Path, minilm_gguf: Path) -> None:
    embedder = {"embedder": "minilm@engine"}
    with reading_house(tmp_path, [minilm_gguf], library=embedder) as house:
        house.stored("/cars.md", b"The automobile would not start because its battery was flat.")
        house.stored("/bread.md", b"Knead the dough and let it rise for an hour.")
        house.stored("/long.txt", ("7,1,4,9 " * 200).encode())  # more tokens than the model reads
        (collection,) = house.ask("GET", "/library/collections").json["collections"]
        hits = house.ask("GET", "/library/search?q=vehicle+broke+down").json["hits"]
        row = last_usage(house)
    assert (collection["documents"], collection["embedder"]) == (3, "minilm@engine")
    assert hits[0]["source"] == "/cars.md"
    assert (row["route"], row["key_id"], row["zone"]) == ("library.embed", "library", "local")


def test_a_server_killed_while_documents_come_in_has_each_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(16):
        text = (BEES if number % 2 else ABEJAS) + f"\nNote {number} of many.\n" * 50
        (folder / f"{number:02}.md").write_text(text)
    home = Home(tmp_path / "house")
    with serving(home) as server:
        coming = subprocess.Popen(command(home, "ingest", str(folder), "--json"), stdout=subprocess.PIPE)
        assert coming.stdout
        assert json.loads(coming.stdout.readline())["outcome"] == "stored"
        server.kill()
        coming.stdout.read()
        assert coming.wait(DEADLINE_S) == 1
        coming.stdout.close()
    with serving(home) as server:
        client = client_of(home)
        check_whole(client)
        again = subprocess.run(command(home, "ingest", str(folder), "--json"), capture_output=True, text=True)
        outcomes = [json.loads(line)["outcome"] for line in again.stdout.splitlines()]
        assert (again.returncode, len(outcomes), set(outcomes)) == (0, 16, {"stored", "unchanged"})
        assert len(check_whole(client)) == 16
        assert not list(home.library_dir.glob("incoming/*"))
        server.send_signal(signal.SIGTERM)
        assert server.wait(DEADLINE_S) == 0


def check_whole(client: Client) -> list[Any]:
    """Every document that is listed has its pages, and is found at its place in them."""
    documents: list[Any] = client.get_json("/library/documents", limit=1000)["documents"]
    for document in documents:
        page = client.get_json(f"/library/documents/{document['id']}/pages/1")
        assert page["text"].count("of many") == 50
    for hit in client.get_json("/library/search", q="queen bee lays eggs", limit=50)["hits"]:
        page = client.get_json(f"/library/documents/{hit['document']}/pages/{hit['page']}")
        assert page["text"][hit["start"] : hit["end"]] == hit["content"]
    return documents


class serving:
    """`casona serve` in a process of its own, ready."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def __enter__(self) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "CASONA_ENGINE__ENABLED": "false", "CASONA_DISCOVERY__OLLAMA": "false"}
        self._server = subprocess.Popen(
            command(self._home, "serve", "--port", "0"), stdout=subprocess.DEVNULL, env=environ
        )
        until(self._is_ready)
        return self._server

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.wait(DEADLINE_S)

    def _is_ready(self) -> bool:
        announcement = self._home.announcement()
        if announcement is None or announcement.pid != self._server.pid:
            return False
        try:
            return bool(client_of(self._home).get_json("/ready"))
        except CliError:
            return False


def command(home: Home, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "casona", "--home", str(home.path), *arguments]


def client_of(home: Home) -> Client:
    announcement = home.announcement()
    assert announcement
    return Client(announcement.url, home.admin_key() or "")


def asking(house: Reading, body: dict[str, Any]) -> socket.socket:
    """Send a question on a socket of our own, which closes when told to."""
    parts = urlsplit(house.url)
    raw = json.dumps(body).encode()
    line = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=DEADLINE_S)
    head = f"POST /rag/query HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {house.api_key}\r\n"
    line.sendall(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
    return line


def loaded(house: Reading) -> Any:
    assert house.house.engine
    return house.house.engine._current["slow"]


def busy_slots(house: Reading) -> int:
    """How many answers the model's own process says it is writing."""
    child = loaded(house).child
    parts = urlsplit(child.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)
    connection.request("GET", "/slots", headers={"authorization": f"Bearer {child.api_key}"})
    slots = json.loads(connection.getresponse().read())
    connection.close()
    return sum(slot["is_processing"] for slot in slots)


def last_usage(house: Reading) -> dict[str, Any]:
    house.house.ledger.settle()
    with house.house.database.read() as connection:
        rows = connection.exec_driver_sql("select * from usage order by at desc limit 1").mappings().all()
    return dict(rows[0]) if rows else {"ended": None}


def until(true: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.01)
