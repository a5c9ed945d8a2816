"""The OpenAI-compatible kinds of node: rows of one kind, told apart by what they take.

Sources: llama.cpp tools/server/README.md, vLLM "OpenAI-compatible server", mlx_lm SERVER.md,
LocalAI and llamafile documentation (read 2026-11).
"""

from dataclasses import dataclass

from casona.settings import NodeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a kind takes beyond the plain chat API.

    `limit_field` is how it calls the limit of generated tokens; `vendor_sampling` whether it
    takes top_k, min_p and repeat_penalty; `version_path` is added when its URL has no path.
    """

    limit_field: str = "max_tokens"
    vendor_sampling: bool = True
    usage_in_stream: bool = True
    version_path: str = "/v1"


ROWS: dict[NodeKind, Row] = {
    NodeKind.OPENAI: Row(limit_field="max_completion_tokens", vendor_sampling=False),
    NodeKind.LLAMACPP: Row(),
    NodeKind.VLLM: Row(limit_field="max_completion_tokens"),
    NodeKind.MLX: Row(),
    NodeKind.LOCALAI: Row(),
    NodeKind.LLAMAFILE: Row(),
}
