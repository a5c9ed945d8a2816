"""Small questions to a child's HTTP server: is it ready, and does its model answer?

Blocking, so call them in a thread. Never through a proxy: http.client knows none.
"""

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from casona.engine.options import Kind

# One token, one vector, one score: the least that shows that a model works.
_TRIALS: dict[Kind, tuple[str, dict[str, Any], str]] = {
    "chat": ("/completion", {"prompt": "Hello", "n_predict": 1}, "tokens_predicted"),
    "embed": ("/v1/embeddings", {"input": "Hello"}, "data"),
    "rerank": ("/v1/rerank", {"query": "Hello", "documents": ["Hello"]}, "results"),
}


def ask(
    url: str, api_key: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float
) -> tuple[int, Any]:
    """The status and the decoded JSON (None when it is none). Raises OSError when nobody answers."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout_s)) as connection:
        headers = {"Authorization": f"Bearer {api_key}"}
        try:
            if body is None:
                connection.request("GET", path, headers=headers)
            else:
                headers["Content-Type"] = "application/json"
                connection.request("POST", path, json.dumps(body), headers)
            reply = connection.getresponse()
            status, raw = reply.status, reply.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
    try:
        return status, json.loads(raw)
    except ValueError:
        return status, None


def is_ready(url: str, api_key: str) -> bool:
    """Whether the server says that its model is loaded; it says 503 while it loads."""
    try:
        return ask(url, api_key, "/health", timeout_s=2)[0] == 200
    except OSError:
        return False


def context_tokens(url: str, api_key: str) -> int:
    """What each slot really has: llama.cpp rounds and caps what it was asked for. 0 if it does not say."""
    try:
        told = ask(url, api_key, "/props", timeout_s=5)[1]
        return int(told["default_generation_settings"]["n_ctx"])
    except (OSError, TypeError, KeyError, ValueError):
        return 0


def try_out(url: str, api_key: str, kind: Kind, *, timeout_s: float) -> str:
    """Why the model does not work, or ""."""
    path, body, wanted = _TRIALS[kind]
    try:
        status, answer = ask(url, api_key, path, body, timeout_s=timeout_s)
    except OSError as error:
        return f"gave no answer ({error})"
    if status == 200 and isinstance(answer, dict) and answer.get(wanted):
        return ""
    told = answer.get("error", {}).get("message") if isinstance(answer, dict) else None
    return f"answered {status}: {told or 'nothing readable'}"
