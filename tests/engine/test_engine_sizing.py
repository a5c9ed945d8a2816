"""What fits: contexts, slots and layers, for models as large as real ones."""

from typing import Any

import pytest

from casona.engine.backend import Backend, Device
from casona.engine.gguf import Header
from casona.engine.machine import Machine
from casona.engine.sizing import Budget, Sizing, TooBig, Weights, budget, needs_bytes, size
from casona.settings import Engine as Settings

GIB = 2**30
LLAMA = Header(
    architecture="llama",
    context_tokens=131072,
    embedding_length=4096,
    feed_forward_length=14336,
    layers=32,
    heads=32,
    kv_heads=8,
    key_length=128,
    value_length=128,
    vocabulary=128256,
    metadata={},
    arrays={},
)
GEMMA = Header(
    architecture="gemma3",
    context_tokens=131072,
    embedding_length=5376,
    feed_forward_length=21504,
    layers=62,
    heads=32,
    kv_heads=16,
    key_length=128,
    value_length=128,
    sliding_window=1024,
    vocabulary=262208,
    metadata={},
    arrays={},
)


def sized(gib: float, *, header: Header = LLAMA, host_gib: float = 0, **settings: Any) -> Sizing:
    room = Budget(memory_bytes=int(gib * GIB), host_bytes=int(host_gib * GIB))
    return size(weights(header), Settings(**settings), room, on_gpu=host_gib > 0)


def weights(header: Header) -> Weights:
    return Weights(header=header, file_bytes=4_920_000_000 if header is LLAMA else 16_550_000_000)


def test_with_memory_for_everything_a_model_has_its_own_context() -> None:
    result = sized(200)
    assert (result.context_tokens, result.parallel, result.warnings) == (131072, 4, ())


def test_beyond_a_good_context_a_model_leaves_half_of_the_free_memory_to_others() -> None:
    result = sized(32)
    free = 32 * GIB - needs_bytes(weights(LLAMA), Settings(), context=256, parallel=4)
    assert result.context_tokens % 256 == 0
    assert 0.45 < (result.memory_bytes - (32 * GIB - free)) / free < 0.52
    assert result.warnings == (
        f"the context is {result.context_tokens} tokens of 131072, which is what memory allows",
    )


def test_a_context_that_was_asked_for_may_take_all_memory() -> None:
    assert sized(22, context=32768).context_tokens == 32768
    assert sized(22).context_tokens < 32768


def test_a_context_beyond_the_model_s_own_is_told() -> None:
    result = sized(200, context=200_000)
    assert result.context_tokens == 131072
    assert result.warnings == ("engine.context is 200000, and the model was trained for 131072 tokens",)


def test_with_little_memory_there_are_fewer_slots_rather_than_no_context() -> None:
    result = sized(6)
    assert (result.parallel, result.context_tokens >= 4096) == (1, True)
    assert "1 of 4 parallel slots, which is what memory allows" in result.warnings


def test_what_is_taken_never_exceeds_the_budget() -> None:
    sizes = [sized(gib / 4).memory_bytes / (gib / 4 * GIB) for gib in range(24, 200, 7)]
    assert max(sizes) <= 1


def test_below_the_smallest_context_a_model_is_refused_with_both_numbers() -> None:
    with pytest.raises(TooBig, match=r"^needs 5\.\d GiB of memory, and there are 5\.0 GiB for models$"):
        sized(5)


def test_a_smaller_cache_type_gives_more_context() -> None:
    assert sized(12, cache_type_k="q8_0", cache_type_v="q8_0").context_tokens > sized(12).context_tokens


def test_the_prompt_cache_is_inside_the_budget() -> None:
    with_cache, without = sized(200), sized(200, cache_bytes=0)
    assert with_cache.memory_bytes - without.memory_bytes == with_cache.cache_bytes == 256 * 2**20


def test_snapshots_of_what_cannot_be_rewound_are_counted() -> None:
    """A 27B model with windows keeps half a gigabyte for each, 32 of each slot unless told less."""
    assert sized(200).checkpoints == 32
    gemma = sized(64, header=GEMMA)
    assert gemma.checkpoints == 1
    needs = needs_bytes(weights(GEMMA), Settings(), context=gemma.context_tokens, parallel=gemma.parallel)
    assert 1.5 * GIB < gemma.memory_bytes - needs - gemma.cache_bytes < 4 * GIB


def test_a_model_that_fits_is_wholly_on_the_gpu() -> None:
    result = sized(24, host_gib=28)
    assert (result.gpu_layers, result.memory_bytes <= 24 * GIB) == (999, True)


def test_of_a_model_too_large_for_the_gpu_some_layers_are_on_it() -> None:
    result = sized(12, header=GEMMA, host_gib=56)
    assert 10 < result.gpu_layers < 50
    assert result.memory_bytes == 12 * GIB
    assert sized(12, header=GEMMA, host_gib=56, gpu_layers=7).gpu_layers == 7


def machine(gib: int) -> Machine:
    return Machine(usable_bytes=gib * GIB, cores=8)


def test_the_budget_is_the_machine_s_memory_less_a_reserve() -> None:
    assert budget(Settings(), machine(64), Backend()) == Budget(memory_bytes=56 * GIB)
    assert budget(Settings(), machine(4), Backend()) == Budget(memory_bytes=3 * GIB)
    assert budget(Settings(), machine(1), Backend()) == Budget(memory_bytes=3 * GIB // 4)
    assert budget(Settings(memory_bytes=2 * GIB), machine(64), Backend()) == Budget(memory_bytes=2 * GIB)


def test_the_budget_on_metal_is_what_metal_recommends() -> None:
    metal = Backend(devices=(Device(name="Metal", backend="metal", memory_bytes=11 * GIB),))
    assert budget(Settings(), machine(16), metal) == Budget(memory_bytes=11 * GIB)


def test_the_budget_on_a_card_is_its_memory_and_the_machine_s_takes_the_rest() -> None:
    card = Backend(devices=(Device(name="CUDA0", backend="cuda", memory_bytes=16 * GIB),))
    assert budget(Settings(), machine(64), card) == Budget(memory_bytes=15 * GIB, host_bytes=56 * GIB)
