"""How many bytes a model needs: its weights, its cache at a context, and room to compute.

Pure. The sums are llama.cpp's own (`llama-kv-cache*.cpp`, `llama-memory-recurrent.cpp`,
`llama-hparams.cpp`); tests hold them against what the engine reports. Where a model is of a kind that
is not known here, it is taken for the kind that needs more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from casona.engine.gguf import Header

CELL_TOKENS = 256  # llama.cpp rounds each slot's cells up to this
BATCH_TOKENS = 512

_CACHE_TYPES = {  # bytes for each number
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
# Of how many neighbouring layers the last one sees everything and the others only a window, where the
# file does not say. Not phi3, mistral, qwen2: llama.cpp ignores their windows.
_WINDOW_PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "cohere2moe": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
    "plamo3": 8,
}
_LLAMA4_WINDOW = 8192
_ONLY_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_BOTH_IN_EACH_LAYER = frozenset({"falcon-h1"})
_FULL_EVERY = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Bytes. `cache_bytes` grows with context and slots, `compute_bytes` is scratch memory."""

    weights_bytes: int
    cache_bytes: int
    compute_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes + self.compute_bytes


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one layer keeps: numbers per token in keys and values, seen through a window or not (0),
    and numbers per slot that don't grow."""

    keys: int
    values: int
    window: int = 0
    state: int = 0


def estimate(  # noqa: PLR0913  the engine's own list of what counts
    header: Header,
    *,
    context_tokens: int,
    parallel: int,
    cache_type_k: str,
    cache_type_v: str,
    file_bytes: int,
    mmproj_bytes: int = 0,
    batch_tokens: int | None = None,
) -> Needs:
    """What the model takes when each of `parallel` slots has `context_tokens` of its own.

    `batch_tokens` are read at a time: 512 unless told; by an embedder the whole input, so the context.
    Raises ValueError for a cache type that llama.cpp does not have.
    """
    batch = batch_tokens or (max(BATCH_TOKENS, context_tokens) if header.is_embedder else BATCH_TOKENS)
    cells = _padded(context_tokens)
    key_bytes, value_bytes = _bytes_per_number(cache_type_k), _bytes_per_number(cache_type_v)
    cache = 0.0
    for layer in _layers(header):
        seen = min(cells, _padded(layer.window + batch)) if layer.window else cells
        cache += parallel * (seen * (layer.keys * key_bytes + layer.values * value_bytes) + layer.state * 4)
    outputs = 4 * header.vocabulary * parallel
    return Needs(
        weights_bytes=file_bytes + mmproj_bytes,
        cache_bytes=int(cache),
        compute_bytes=batch * _scratch_bytes(header, cells, batch) + outputs + mmproj_bytes // 4,
    )


def _padded(tokens: int) -> int:
    return -(-tokens // CELL_TOKENS) * CELL_TOKENS


def _bytes_per_number(cache_type: str) -> float:
    if cache_type not in _CACHE_TYPES:
        raise ValueError(f"{cache_type!r} is not a cache type; it can be {', '.join(_CACHE_TYPES)}")
    return _CACHE_TYPES[cache_type]


def _layers(header: Header) -> Iterator[_Layer]:
    """What each layer keeps. An embedder that reads both ways keeps nothing."""
    if _reads_both_ways(header):
        return
    windows = _windows(header)
    recurrent = _recurrent(header)
    state = _state_numbers(header)
    heads = _per_layer(header, "attention.head_count_kv", header.kv_heads)
    count = header.layers - _own(header, "attention.shared_kv_layers")
    for index in range(max(count, 0)):
        attends = not recurrent[index] or header.architecture in _BOTH_IN_EACH_LAYER
        keys, values = _widths(header, heads[index], windowed=windows[index] > 0) if attends else (0, 0)
        yield _Layer(keys, values, windows[index], state if recurrent[index] else 0)


def _widths(header: Header, heads: int, *, windowed: bool) -> tuple[int, int]:
    key = (windowed and _own(header, "attention.key_length_swa")) or header.key_length
    value = (windowed and _own(header, "attention.value_length_swa")) or header.value_length
    indexer = _own(header, "attention.indexer.key_length")
    if _own(header, "attention.key_length_mla"):
        return key * heads + indexer, 0  # multi-head latent attention: values are made from the keys
    return key * heads + indexer, value * heads


def _windows(header: Header) -> list[int]:
    """The window of each layer in tokens; 0 where it sees everything."""
    layers = header.layers
    window = header.sliding_window
    key = f"{header.architecture}.attention.sliding_window_pattern"
    if (
        header.architecture == "llama4"
        and f"{header.architecture}.attention.sliding_window" not in header.metadata
    ):
        window = _LLAMA4_WINDOW
    pattern = header.arrays.get(key)
    if pattern:
        return [window if pattern[index % len(pattern)] else 0 for index in range(layers)]
    period = header.metadata.get(key) or _WINDOW_PERIODS.get(header.architecture, 1)
    period = period if isinstance(period, int) else 1
    return [window if index % period < period - 1 else 0 for index in range(layers)]


def _recurrent(header: Header) -> list[bool]:
    """Which layers keep a state of fixed size (Mamba, RWKV, short convolutions, delta nets)."""
    layers, architecture = header.layers, header.architecture
    if architecture in _ONLY_RECURRENT | _BOTH_IN_EACH_LAYER:
        return [True] * layers
    if architecture in _FULL_EVERY:
        every = _own(header, "full_attention_interval") or _FULL_EVERY[architecture]
        return [(index + 1) % every != 0 for index in range(layers)]
    heads = _per_layer(header, "attention.head_count_kv", header.kv_heads)
    return [heads[index] == 0 for index in range(layers)]


def _state_numbers(header: Header) -> int:
    """Numbers (of 4 bytes) that one recurrent layer keeps for one slot."""
    width = header.embedding_length
    head = _own(header, "wkv.head_size")
    if head:
        return width * head + max(1, _own(header, "token_shift_count") or 2) * width
    short = _own(header, "shortconv.l_cache")
    if short:
        return width * (short - 1)
    kda = _own(header, "kda.head_dim")
    kernel, inner, state, groups = (
        _own(header, f"ssm.{key}") for key in ("conv_kernel", "inner_size", "state_size", "group_count")
    )
    if kda:
        return header.heads * kda * (kda + 3 * max(kernel - 1, 0))
    return max(kernel - 1, 0) * (inner + 2 * groups * state) + inner * state


def _scratch_bytes(header: Header, cells: int, batch: int) -> int:
    """For each token of a batch: a mask over what it may see, and what is alive at the graph's widest place.

    With flash attention, which llama.cpp takes by itself; without it, queries times keys come on top.
    """
    masks = 0 if header.architecture in _ONLY_RECURRENT else cells
    masks += _padded(header.sliding_window + batch) if header.sliding_window else 0
    return 2 * masks + 4 * _scratch_width(header)


def _scratch_width(header: Header) -> int:
    experts_used = _own(header, "expert_used_count")
    expert_width = _own(header, "expert_feed_forward_length") or header.feed_forward_length
    experts = experts_used * (3 * expert_width + header.embedding_length)
    heads = header.heads * (header.key_length + header.value_length)
    states = 6 * _own(header, "ssm.inner_size")
    return max(2 * header.feed_forward_length, experts, heads) + states + 10 * header.embedding_length


def _reads_both_ways(header: Header) -> bool:
    """BERT and its kin; an embedder made from a chat model keeps its cache."""
    causal = header.metadata.get(f"{header.architecture}.attention.causal", True)
    return header.is_embedder and (not causal or "bert" in header.architecture)


def _own(header: Header, key: str) -> int:
    value = header.metadata.get(f"{header.architecture}.{key}", 0)
    return value if isinstance(value, int) and value > 0 else 0


def _per_layer(header: Header, key: str, otherwise: int) -> list[int]:
    listed = [
        value for value in header.arrays.get(f"{header.architecture}.{key}", ()) if isinstance(value, int)
    ]
    return (listed + [otherwise] * header.layers)[: header.layers]
