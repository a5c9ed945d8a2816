"""A client that leaves, a child that dies: what the engine and the next client see."""

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.conftest import Open, Running

LONG_ANSWER = {"model": "slow", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4000}
LONG_PROMPT = {"model": "slow", "messages": [{"role": "user", "content": "words " * 1300}], "max_tokens": 5}
SOON_S = 5.0  # a second where nothing else runs; left alone, each of these works for half a minute
DEADLINE_S = 20.0


@pytest.fixture
def house(open_house: Open, slow_gguf: Path) -> Running:
    house = open_house(models=[slow_gguf], engine={"keep_alive": "-1", "threads": 1})
    post(house, LONG_ANSWER | {"max_tokens": 1}).read()  # loaded
    return house


def test_a_hang_up_in_mid_stream_stops_the_engine(house: Running) -> None:
    line = ask(house, LONG_ANSWER | {"stream": True, "ignore_eos": True})
    until(lambda: b"content" in line.recv(65536))
    assert busy_slots(house) == 1
    line.close()
    assert idle_within(house, SOON_S)
    assert last_usage(house)["ended"] == "hang_up"


def test_a_hang_up_while_waiting_for_a_whole_answer_stops_the_engine(house: Running) -> None:
    line = ask(house, LONG_ANSWER | {"ignore_eos": True})
    until(lambda: busy_slots(house) == 1)
    line.close()
    assert idle_within(house, SOON_S)
    usage = last_usage(house)
    assert (usage["ended"], usage["counted"], usage["prompt_tokens"]) == ("hang_up", "estimate", 19)


@pytest.mark.parametrize("stream", [False, True])
def test_a_hang_up_in_mid_prompt_stops_the_engine(house: Running, stream: bool) -> None:
    line = ask(house, LONG_PROMPT | {"stream": stream})
    until(lambda: busy_slots(house) == 1)
    line.close()
    assert idle_within(house, SOON_S)
    assert last_usage(house)["ended"] == "hang_up"


def test_a_killed_child_ends_the_stream_with_an_error_and_the_next_request_works(house: Running) -> None:
    reply = post(house, LONG_ANSWER | {"stream": True, "ignore_eos": True})
    assert b"content" in reply.readline() + reply.readline() + reply.readline()
    os.kill(child_pid(house), signal.SIGKILL)
    rest = reply.read().decode()
    error = json.loads(rest.strip().split("\n\n")[-1].removeprefix("data: "))["error"]
    assert error["type"] == "api_error"
    assert "'slow' stopped in its answer" in error["message"]
    again = post(house, LONG_ANSWER | {"max_tokens": 1})
    assert (again.status, json.loads(again.read())["usage"]["completion_tokens"]) == (200, 1)


def test_a_child_killed_before_an_unstreamed_answer_gives_a_clear_error(house: Running) -> None:
    line = ask(house, LONG_ANSWER | {"ignore_eos": True})
    until(lambda: busy_slots(house) == 1)
    os.kill(child_pid(house), signal.SIGKILL)
    with line, http.client.HTTPResponse(line) as reply:
        reply.begin()
        assert reply.status == 502
        assert "'slow' stopped in its answer" in json.loads(reply.read())["error"]["message"]


def ask(house: Running, body: dict[str, Any]) -> socket.socket:
    """Send a request on a socket of our own, which closes when told to."""
    parts = urlsplit(house.url)
    raw = json.dumps(body).encode()
    line = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=DEADLINE_S)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {house.api_key}\r\n"
    line.sendall(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
    return line


def post(house: Running, body: dict[str, Any]) -> http.client.HTTPResponse:
    with ask(house, body) as line:  # the reply keeps the connection open
        reply = http.client.HTTPResponse(line)
        reply.begin()
    return reply


def slots(house: Running) -> list[dict[str, Any]]:
    """What the model's own process says it is doing."""
    child = loaded(house).child
    parts = urlsplit(child.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)
    connection.request("GET", "/slots", headers={"authorization": f"Bearer {child.api_key}"})
    found: list[dict[str, Any]] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def busy_slots(house: Running) -> int:
    return sum(slot["is_processing"] for slot in slots(house))


def idle_within(house: Running, seconds: float) -> bool:
    until(lambda: busy_slots(house) == 0, within_s=seconds)
    return True


def loaded(house: Running) -> Any:
    assert house.house.engine
    return house.house.engine._current["slow"]


def child_pid(house: Running) -> int:
    pid: int = loaded(house).child.pid
    return pid


def last_usage(house: Running) -> dict[str, Any]:
    def found() -> list[Any]:
        house.house.ledger.settle()
        with house.house.database.read() as connection:
            return list(
                connection.exec_driver_sql(
                    "select ended, counted, prompt_tokens from usage order by at"
                ).mappings()
            )

    until(lambda: len(found()) >= 2)
    return dict(found()[-1])


def until(true: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.01)
