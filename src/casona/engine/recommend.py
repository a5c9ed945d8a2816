"""Which models suit a machine: the file and its cache against the memory there is. Pure.

The cache counted is that of the engine's defaults: four slots with a good context each. A model that
fits only with less is not recommended, though it may run.
"""

from collections.abc import Callable
from dataclasses import dataclass

from casona.engine.fit import estimate
from casona.engine.gguf import Header
from casona.engine.sizing import GOOD_CONTEXT, reserve_bytes
from casona.settings import Engine as EngineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """`file_bytes` on disk, `needs_bytes` in memory with its cache; `fits` is for this machine."""

    name: str
    quantisation: str
    file_bytes: int
    needs_bytes: int
    fits: bool
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A well-known model: what its file says of itself, as the registry has it."""

    name: str
    file_bytes: int
    layers: int
    heads: int
    kv_heads: int
    head_length: int
    width: int
    feed_forward: int
    vocabulary: int
    note: str
    quantisation: str = "Q4_K_M"


_QWEN, _LLAMA = "Apache-2.0", "Llama community licence"
_ROWS = (
    _Row(
        name="qwen2.5:0.5b",
        file_bytes=397_807_936,
        layers=24,
        heads=14,
        kv_heads=2,
        head_length=64,
        width=896,
        feed_forward=4864,
        vocabulary=151_936,
        note=f"to try things out; {_QWEN}",
    ),
    _Row(
        name="llama3.2:1b",
        file_bytes=1_321_082_688,
        layers=16,
        heads=32,
        kv_heads=8,
        head_length=64,
        width=2048,
        feed_forward=8192,
        vocabulary=128_256,
        note=f"short, simple answers; {_LLAMA}",
        quantisation="Q8_0",
    ),
    _Row(
        name="llama3.2:3b",
        file_bytes=2_019_377_376,
        layers=28,
        heads=24,
        kv_heads=8,
        head_length=128,
        width=3072,
        feed_forward=8192,
        vocabulary=128_256,
        note=f"everyday questions; {_LLAMA}",
    ),
    _Row(
        name="llama3.1:8b",
        file_bytes=4_920_738_944,
        layers=32,
        heads=32,
        kv_heads=8,
        head_length=128,
        width=4096,
        feed_forward=14_336,
        vocabulary=128_256,
        note=f"a good all-rounder; {_LLAMA}",
    ),
    _Row(
        name="qwen2.5:14b",
        file_bytes=8_988_110_272,
        layers=48,
        heads=40,
        kv_heads=8,
        head_length=128,
        width=5120,
        feed_forward=13_824,
        vocabulary=152_064,
        note=f"documents, code, many languages; {_QWEN}",
    ),
    _Row(
        name="qwen2.5:32b",
        file_bytes=19_851_335_840,
        layers=64,
        heads=40,
        kv_heads=8,
        head_length=128,
        width=5120,
        feed_forward=27_648,
        vocabulary=152_064,
        note=f"demanding work, many languages; {_QWEN}",
    ),
    _Row(
        name="llama3.3:70b",
        file_bytes=42_520_395_584,
        layers=80,
        heads=64,
        kv_heads=8,
        head_length=128,
        width=8192,
        feed_forward=28_672,
        vocabulary=128_256,
        note=f"the best answers; {_LLAMA}",
    ),
)


def recommend(memory_bytes: int) -> list[Suggestion]:
    """Well-known models from small to large. The last that fits is the best for this machine.

    `memory_bytes` is the machine's memory (or its GPUs', or the container's limit) as it is; what the
    system and the house need is taken off here.
    """
    room = memory_bytes - reserve_bytes(memory_bytes)
    return [_suggestion(row, room) for row in _ROWS]


def best(memory_bytes: int) -> Suggestion | None:
    """The largest model that suits this machine, or None where none does."""
    return next((one for one in reversed(recommend(memory_bytes)) if one.fits), None)


def first_start_advice(memory_bytes: int) -> str:
    """One line for a start without models: the command that gets the best one."""
    one = best(memory_bytes)
    if one is None:
        return "no model yet, and too little memory for those we know; put a small GGUF file into models/"
    return (
        f"no model yet; for this machine: casona pull {one.name}  "
        f"({one.quantisation}, {gigabytes(one.file_bytes)} on disk; more: casona pull --recommend)"
    )


def offer(memory_bytes: int, ask: Callable[[str], bool]) -> str:
    """The name of the best model if the person at the terminal wants it now, else "".

    `ask` puts a question and gives the answer.
    """
    one = best(memory_bytes)
    if one is None:
        return ""
    question = f"No model yet. Pull {one.name} ({one.quantisation}, {gigabytes(one.file_bytes)}) now?"
    return one.name if ask(question) else ""


def gigabytes(size_bytes: int) -> str:
    """As people read it: 4.9 GB, 380 MB."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _suggestion(row: _Row, room: int) -> Suggestion:
    defaults = EngineSettings()
    needs = estimate(
        _header(row),
        context_tokens=GOOD_CONTEXT,
        parallel=defaults.parallel,
        cache_type_k=defaults.cache_type_k,
        cache_type_v=defaults.cache_type_v,
        file_bytes=row.file_bytes,
    ).total_bytes
    return Suggestion(
        name=row.name,
        quantisation=row.quantisation,
        file_bytes=row.file_bytes,
        needs_bytes=needs,
        fits=needs <= room,
        note=row.note,
    )


def _header(row: _Row) -> Header:
    return Header(
        architecture="llama",
        embedding_length=row.width,
        feed_forward_length=row.feed_forward,
        layers=row.layers,
        heads=row.heads,
        kv_heads=row.kv_heads,
        key_length=row.head_length,
        value_length=row.head_length,
        vocabulary=row.vocabulary,
        metadata={},
        arrays={},
    )
