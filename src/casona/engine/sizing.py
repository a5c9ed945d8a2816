"""How much context, how many slots and which layers on the GPU: what fits, before anything is loaded.

Pure arithmetic over the model's header; `fit.py` knows what a context costs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from casona.engine.backend import Backend
from casona.engine.fit import estimate
from casona.engine.gguf import Header
from casona.engine.machine import Machine
from casona.engine.options import ALL_LAYERS
from casona.settings import Engine as EngineSettings

SMALLEST_CONTEXT = 2048  # less holds no conversation: the model is refused instead
DECENT_CONTEXT = 4096  # rather fewer slots than less context than this
GOOD_CONTEXT = 8192  # up to here a model may take the whole budget, beyond it half of what is free
EMBEDDER_CONTEXT = 8192  # an embedder reads its whole context in one batch
STEP = 256  # llama.cpp rounds contexts to this
MOST_CHECKPOINTS = 32
PROCESS_BYTES = 48 * 2**20  # an interpreter with llama.cpp in it, before any model
GIB = 2**30


class TooBig(ValueError):
    """This model does not fit into the memory there is for models; the message has both numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`memory_bytes` is shared by all models. `host_bytes` is where the rest of a model may go that is
    too large for the GPUs' own memory; 0 where there is no such memory."""

    memory_bytes: int
    host_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What is loaded together for one model. `draft` is a speculative model's header and file size."""

    header: Header
    file_bytes: int
    mmproj_bytes: int = 0
    lora_bytes: int = 0
    draft: tuple[Header, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """`context_tokens` is what each of the `parallel` slots has; `memory_bytes` counts against the budget."""

    context_tokens: int
    parallel: int
    memory_bytes: int
    cache_bytes: int = 0
    checkpoints: int = 1
    gpu_layers: int = 0
    warnings: tuple[str, ...] = ()


def budget(settings: EngineSettings, machine: Machine, backend: Backend) -> Budget:
    """Memory for models: that of the GPUs, or the machine's less a reserve for everything else."""
    host = machine.usable_bytes - reserve_bytes(machine.usable_bytes)
    if backend.video_bytes:
        video = settings.memory_bytes or backend.video_bytes * 15 // 16
        return Budget(memory_bytes=video, host_bytes=host)
    if backend.name == "metal" and backend.devices[0].memory_bytes:
        host = min(host, backend.devices[0].memory_bytes)  # what Metal recommends not to exceed
    return Budget(memory_bytes=settings.memory_bytes or host)


def reserve_bytes(usable_bytes: int) -> int:
    """An eighth for the system and the house itself; at least 1 GiB, or a quarter of a small machine."""
    return max(usable_bytes // 8, min(GIB, usable_bytes // 4))


def size(weights: Weights, settings: EngineSettings, budget: Budget, *, on_gpu: bool) -> Sizing:
    """The most context and slots that fit. Raises TooBig below `SMALLEST_CONTEXT`."""
    cache = min(settings.cache_bytes, budget.memory_bytes // 8) if not weights.header.is_embedder else 0

    checkpoint = checkpoint_bytes(weights.header, settings)

    def needs(context: int, parallel: int) -> int:
        kept = checkpoint * parallel * _checkpoints(checkpoint * parallel, cache)
        return needs_bytes(weights, settings, context=context, parallel=parallel) + cache + kept

    room = budget.memory_bytes
    if budget.host_bytes and needs(SMALLEST_CONTEXT, 1) > room:
        room += budget.host_bytes
    own = weights.header.context_tokens
    wanted = min(own, settings.context or (EMBEDDER_CONTEXT if weights.header.is_embedder else own))
    context, parallel = _context(needs, settings, room, wanted)
    if context < min(wanted, SMALLEST_CONTEXT):
        least = needs(min(wanted, SMALLEST_CONTEXT), 1)
        raise TooBig(f"needs {_gib(least)} of memory, and there are {_gib(room)} for models")
    taken = needs(context, parallel)
    return Sizing(
        context_tokens=context,
        parallel=parallel,
        memory_bytes=min(taken, budget.memory_bytes),
        cache_bytes=cache,
        checkpoints=_checkpoints(checkpoint * parallel, cache),
        gpu_layers=_gpu_layers(weights.header, settings, budget, taken) if on_gpu else 0,
        warnings=() if weights.header.is_embedder else tuple(_warnings(settings, own, context, parallel)),
    )


def needs_bytes(weights: Weights, settings: EngineSettings, *, context: int, parallel: int) -> int:
    """Memory for the weights and `parallel` contexts, with projector, adapters and draft model."""

    def one(header: Header, file_bytes: int, mmproj_bytes: int = 0) -> int:
        return estimate(
            header,
            context_tokens=context,
            parallel=parallel,
            cache_type_k=settings.cache_type_k,
            cache_type_v=settings.cache_type_v,
            file_bytes=file_bytes,
            mmproj_bytes=mmproj_bytes,
        ).total_bytes

    beside = PROCESS_BYTES + weights.lora_bytes + (one(*weights.draft) if weights.draft else 0)
    return one(weights.header, weights.file_bytes, weights.mmproj_bytes) + beside


def checkpoint_bytes(header: Header, settings: EngineSettings) -> int:
    """A slot's snapshot of what can't be rewound: windows and recurrent states; 0 where all can.

    llama.cpp keeps up to 32 of them for each slot, outside its cache limit; of a large model with
    windows one takes half a gigabyte. It is the part of the cache that does not grow with the context.
    """

    def cache(tokens: int) -> int:
        return estimate(
            header,
            context_tokens=tokens,
            parallel=1,
            cache_type_k=settings.cache_type_k,
            cache_type_v=settings.cache_type_v,
            file_bytes=0,
        ).cache_bytes

    context = -(-(header.sliding_window + 1024) // STEP) * STEP
    return max(0, 2 * cache(context) - cache(2 * context))


def _checkpoints(all_slots_bytes: int, cache_bytes: int) -> int:
    """As many as fit into as much again as the prompt cache has; one at least, or each turn starts anew."""
    return (
        MOST_CHECKPOINTS
        if not all_slots_bytes
        else min(MOST_CHECKPOINTS, max(1, cache_bytes // all_slots_bytes))
    )


def _context(
    needs: Callable[[int, int], int], settings: EngineSettings, room: int, wanted: int
) -> tuple[int, int]:
    """Context per slot, and slots: fewer slots rather than less than a decent context."""
    enough = wanted if settings.context else min(wanted, DECENT_CONTEXT)
    parallel = settings.parallel
    while True:
        context = _fitting(needs, parallel, room, wanted)
        if not settings.context and context > GOOD_CONTEXT:
            fair = needs(STEP, parallel) + (room - needs(STEP, parallel)) // 2
            context = max(_fitting(needs, parallel, fair, wanted), min(context, GOOD_CONTEXT))
        if context >= enough or parallel == 1:
            return context, parallel
        parallel //= 2


def _fitting(needs: Callable[[int, int], int], parallel: int, room: int, wanted: int) -> int:
    """The largest context up to `wanted` whose needs fit into the room; 0 when none does."""
    if needs(wanted, parallel) <= room:
        return wanted
    low, high = 0, wanted // STEP
    while low < high:
        middle = (low + high + 1) // 2
        if needs(middle * STEP, parallel) <= room:
            low = middle
        else:
            high = middle - 1
    return low * STEP


def _gpu_layers(header: Header, settings: EngineSettings, budget: Budget, taken: int) -> int:
    if settings.gpu_layers is not None:
        return settings.gpu_layers
    if taken <= budget.memory_bytes or not budget.host_bytes:
        return ALL_LAYERS
    return max(0, header.layers * budget.memory_bytes // taken - 1)  # one less for the working memory


def _warnings(settings: EngineSettings, own: int, context: int, parallel: int) -> Iterable[str]:
    if settings.context and settings.context > own:
        yield f"engine.context is {settings.context}, and the model was trained for {own} tokens"
    asked = min(own, settings.context or own)
    if context < asked:
        yield f"the context is {context} tokens of {asked}, which is what memory allows"
    if parallel < settings.parallel:
        yield f"{parallel} of {settings.parallel} parallel slots, which is what memory allows"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB // 10 else f"{size_bytes / 2**20:.0f} MiB"
