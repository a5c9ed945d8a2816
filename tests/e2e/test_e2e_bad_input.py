"""What no client should send: refused with the field's name, in OpenAI's shape, by a house that lives on."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.conftest import Open, Running

FINE = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def house(open_house: Open) -> Running:
    return open_house(engine={"enabled": False}, server={"max_body_bytes": 100_000})


@pytest.fixture
def engine_house(open_house: Open, tiny_gguf: Path) -> Running:
    return open_house(models=[tiny_gguf])


def send(house: Running, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any]:
    parts = urlsplit(house.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("POST", path, body, {"authorization": f"Bearer {house.api_key}"} | headers)
    reply = connection.getresponse()
    said = json.loads(reply.read())
    connection.close()
    return reply.status, said["error"]


def said(house: Running, change: dict[str, Any]) -> tuple[int, str, str | None]:
    status, error = send(house, json.dumps(FINE | change).encode())
    return status, error["message"], error["param"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty; a JSON object is needed"),
        (b"{", "the body is not a JSON object: Input data was truncated"),
        (b"[]", "the body is not a JSON object: Expected object, got array"),
        (b"hello", "the body is not a JSON object: JSON is malformed: invalid character (byte 0)"),
        (b'{"model": "\xff"}', "the body is not UTF-8: byte 11 does not belong there"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "the body nests more than 100 levels deep"),
        (b'{"a":' * 120 + b"1" + b"}" * 120, "the body nests more than 100 levels deep"),
    ],
    ids=["empty", "cut", "array", "text", "latin", "deep arrays", "deep objects"],
)
def test_what_is_no_json_object_is_refused(house: Running, body: bytes, message: str) -> None:
    status, error = send(house, body)
    assert (status, error) == (
        400,
        {"message": message, "type": "invalid_request_error", "param": None, "code": None},
    )


@pytest.mark.parametrize(
    ("change", "message", "param"),
    [
        ({"model": 7}, "model: expected str, got int", "model"),
        ({"model": ""}, "model: expected str of length >= 1", "model"),
        ({"messages": []}, "messages: expected array of length >= 1", "messages"),
        ({"messages": {}}, "messages: expected array, got object", "messages"),
        ({"messages": [{}]}, "messages[0].role: this field is required", "messages[0].role"),
        ({"messages": [{"role": "king"}]}, "messages[0].role: invalid enum value 'king'", "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"text": "a"}]}]},
            "messages[0].content[0].type: this field is required",
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": "a\ud800b"}]},
            "messages[0].content: holds half of a surrogate pair, which is no character",
            "messages[0].content",
        ),
        ({"temperature": "hot"}, "temperature: expected float | null, got str", "temperature"),
        ({"max_tokens": -1}, "max_tokens: expected int >= 0", "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens: expected int <= 2147483647", "max_tokens"),
        ({"top_p": 1e300}, "top_p: expected float <= 1.0", "top_p"),
        ({"n": 0}, "n: expected int >= 1", "n"),
        ({"stream": "yes"}, "stream: expected bool | null, got str", "stream"),
        (
            {"stream_options": {"include_usage": True}},
            "stream_options: only allowed when stream is true",
            "stream_options",
        ),
        (
            {"model": "nope"},
            "the model 'nope' does not exist; there is none yet; `casona pull` gets one",
            "model",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_wrong_field_is_named(house: Running, change: dict[str, Any], message: str, param: str) -> None:
    status, words, named = said(house, change)
    assert (status, words, named) == (404 if change.get("model") == "nope" else 400, message, param)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "hologram"}]}, "tools"),
        ({"reasoning_format": "loud"}, "reasoning_format"),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{secret"}}
                        ],
                    },
                    {"role": "tool", "tool_call_id": "1", "content": "x"},
                ]
            },
            "messages",
        ),
    ],
)
def test_what_the_engine_calls_its_own_fault_is_the_callers(
    engine_house: Running, caplog: pytest.LogCaptureFixture, change: dict[str, Any], param: str, stream: bool
) -> None:
    status, words, named = said(engine_house, change | {"model": "tiny", "stream": stream, "max_tokens": 1})
    assert (status, (named or "")[: len(param)]) == (400, param), words
    assert engine_house.house.catalog.states[0].trouble == ""
    assert "secret" not in caplog.text


def test_a_body_beyond_the_limit_is_refused_and_the_connection_lives_on(house: Running) -> None:
    parts = urlsplit(house.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    headers = {"authorization": f"Bearer {house.api_key}"}
    connection.request("POST", "/v1/chat/completions", b"x" * 3_000_000, headers)
    reply = connection.getresponse()
    error = json.loads(reply.read())["error"]
    assert (reply.status, error["code"]) == (413, "request_too_large")
    assert "server.max_body_bytes" in error["message"]
    connection.request("GET", "/v1/models", headers=headers)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_chunked_body_beyond_the_limit_is_refused(house: Running) -> None:
    parts = urlsplit(house.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    headers = {"authorization": f"Bearer {house.api_key}"}
    pieces = (b"x" * 10_000 for _ in range(30))
    connection.request("POST", "/v1/chat/completions", pieces, headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_header_that_trickles_closes_the_connection(open_house: Open) -> None:
    house = open_house(engine={"enabled": False}, server={"header_timeout_s": 0.2})
    parts = urlsplit(house.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
        line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost:")
        assert line.recv(100) == b""


def test_a_body_that_stops_closes_the_connection(open_house: Open) -> None:
    house = open_house(engine={"enabled": False}, server={"body_timeout_s": 0.2})
    parts = urlsplit(house.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {house.api_key}\r\n"
        line.sendall(f"{head}host: x\r\ncontent-length: 50\r\n\r\n{{".encode())
        assert line.recv(100) == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health", 405),
        ("GET", "/v1/models/%ff", 400),
        ("GET", "/v1/models/..%2f..%2fetc", 404),
        ("GET", "/v1/v1/models/", 200),
        ("GET", "//v1//models", 200),
        ("GET", "/models", 200),
    ],
)
def test_paths_are_found_refused_or_taken_for_their_alias(
    house: Running, method: str, path: str, status: int
) -> None:
    assert fetch(house, method, path, f"Bearer {house.api_key}") == status


@pytest.mark.parametrize(
    "path", ["/v1/models", "/admin/keys", "/v1/nothing", "/docs", "/library/collections"]
)
def test_without_a_key_nothing_is_told(house: Running, path: str) -> None:
    assert fetch(house, "GET", path, "") == 401


def fetch(house: Running, method: str, path: str, authorization: str) -> int:
    parts = urlsplit(house.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n"
        head += f"authorization: {authorization}\r\n" if authorization else ""
        line.sendall(f"{head}\r\n".encode())
        return int(line.recv(4096).split()[1])


def test_cors_is_closed_unless_an_origin_was_named(open_house: Open) -> None:
    house = open_house(engine={"enabled": False}, server={"cors_origins": ["https://chat.example"]})
    allowed = headers_for(house, "https://chat.example")
    assert allowed["access-control-allow-origin"] == "https://chat.example"
    assert "authorization" in allowed["access-control-allow-headers"]
    assert "access-control-allow-origin" not in headers_for(house, "https://evil.example")


def headers_for(house: Running, origin: str) -> dict[str, str]:
    parts = urlsplit(house.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("OPTIONS", "/v1/chat/completions", headers={"origin": origin})
    reply = connection.getresponse()
    reply.read()
    connection.close()
    assert reply.status == 204
    return {name.lower(): value for name, value in reply.getheaders()}


def test_the_rooms_take_json_whatever_it_is_called_and_bound_it(house: Running) -> None:
    wanted = json.dumps({"name": "laptop"}).encode()
    assert post(house, "/admin/keys", wanted, {"content-type": "text/plain"})[0] == 201
    status, told = post(house, "/admin/keys", (b"x" * 10_000 for _ in range(30)), {})
    assert (status, told["error"]["code"]) == (413, "request_too_large")


def post(house: Running, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
    parts = urlsplit(house.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    headers = {"authorization": f"Bearer {house.api_key}"} | headers
    connection.request("POST", path, body, headers, encode_chunked=not isinstance(body, bytes))
    reply = connection.getresponse()
    told = json.loads(reply.read())
    connection.close()
    return reply.status, told
