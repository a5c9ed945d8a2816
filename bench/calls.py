"""The one request that every benchmark sends, and the answer that every mock node gives."""

import json
from dataclasses import dataclass, field

MODEL = "mock"
STREAMED_MODEL = "mock-streams"
PATH = "/v1/chat/completions"
NODE_KEY = "sk-node"

QUESTION = [
    {
        "role": "system",
        "content": "You are a helpful assistant. Answer briefly, and say so when you do not know.",
    },
    {
        "role": "user",
        "content": "Which papers does a family need to register a newborn child at the town hall?",
    },
]
ANSWER = (
    "The hospital’s report of birth, the identity cards of both parents, and the family book if there is one."
)

# What a node answers to an unstreamed chat.
WHOLE = json.dumps(
    {
        "id": "chatcmpl-7c1d9f0e2b",
        "object": "chat.completion",
        "created": 1764547200,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ANSWER},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 41, "completion_tokens": 23, "total_tokens": 64},
    },
    ensure_ascii=False,
    separators=(",", ":"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Where a chat request goes on this machine, and what it carries."""

    port: int
    path: str = PATH
    model: str = MODEL
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, *, stream: bool) -> bytes:
        asked = {
            "model": self.model,
            "messages": QUESTION,
            "temperature": 0.7,
            "max_tokens": 256,
            "stream": stream,
        }
        return json.dumps(asked, separators=(",", ":")).encode()

    def request(self, *, stream: bool) -> bytes:
        """The whole request as it goes over the wire."""
        body = self.body(stream=stream)
        fields = {
            "host": f"127.0.0.1:{self.port}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body
