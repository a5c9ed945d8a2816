"""Usage rows for tests."""

from casona.records.usage import UsageRow


def row(request_id: str, **changes: object) -> UsageRow:
    values: dict[str, object] = {
        "request_id": request_id,
        "at": 1_800_000_000.25,
        "key_id": "key_1",
        "model": "llama3:8b",
        "node": "engine",
        "zone": "local",
        "route": "/v1/chat/completions",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cached_tokens": 64,
        "counted": "node",
        "first_token_ms": 12.5,
        "total_ms": 250.0,
        "ended": "done",
        "status": 200,
    }
    return UsageRow(**{**values, **changes})  # type: ignore[arg-type]
