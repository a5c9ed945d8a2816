"""One launch plan, in both of llama.cpp's languages: xllamacpp's CommonParams and llama-server's flags.

Every option is a row of one table. Programs differ by age, so a flag has several spellings and the first
one that the program's own `--help` knows is used.

Source: `llama-server --help`, and llama.cpp's common/arg.cpp.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

Kind = Literal["chat", "embed", "rerank"]
ALL_LAYERS = 999  # more than any model has; -1 means different things to different builds


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """All that a child needs to serve one model.

    `context_tokens` is what each of the `parallel` slots has for itself. `devices` names llama.cpp
    devices such as CUDA0; () leaves them to llama.cpp, ("none",) is the processor alone. `checkpoints` are
    kept of each slot by models whose cache can't be rewound. `batch_tokens` of a prompt are read before
    anything else is looked at: a hang-up, or other slots.
    """

    name: str
    model: str
    kind: Kind = "chat"
    context_tokens: int = 4096
    parallel: int = 1
    threads: int = 1
    gpu_layers: int = 0
    devices: tuple[str, ...] = ()
    flash_attention: Literal["auto", "on", "off"] = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    cache_mib: int = 0
    checkpoints: int = 1
    batch_tokens: int = 512
    mmproj: str = ""
    loras: tuple[str, ...] = ()
    draft: str = ""
    draft_tokens: int = 16


class UnknownOption(ValueError):
    """The program is too old, or too new, to be told something that the model cannot do without."""


def _given(_: ModuleType, value: Any) -> Any:
    return value


def _flash(llama: ModuleType, value: str) -> Any:
    names = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}
    return llama.llama_flash_attn_type[f"LLAMA_FLASH_ATTN_TYPE_{names[value]}"]


def _cache_type(llama: ModuleType, value: str) -> Any:
    return llama.ggml_type[f"GGML_TYPE_{value.upper()}"]


def _pooling(llama: ModuleType, value: str) -> Any:
    return llama.llama_pooling_type[f"LLAMA_POOLING_TYPE_{value.upper()}"]


def _adapters(llama: ModuleType, paths: Sequence[str]) -> list[Any]:
    return [llama.CommonAdapterLoraInfo(path, 1.0) for path in paths]


def _draft_types(llama: ModuleType, _: str) -> list[Any]:
    return [llama.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """`value` None leaves the option alone. A `switch` is a flag without a value.

    Without one of its `flags` a program can't run the model if `needed`; the others are economies.
    """

    value: Callable[[LaunchPlan], Any]
    attribute: str = ""
    convert: Callable[[ModuleType, Any], Any] = _given
    flags: tuple[str, ...] = ()
    switch: bool = False
    needed: bool = False


def _batch(plan: LaunchPlan) -> int:
    """Embedders read a whole input in one physical batch, so it must be as long as their context."""
    return plan.batch_tokens if plan.kind == "chat" else max(plan.context_tokens, plan.batch_tokens)


def _physical_batch(plan: LaunchPlan) -> int:
    return min(_batch(plan), 512) if plan.kind == "chat" else _batch(plan)


def _on_processor(plan: LaunchPlan) -> bool | None:
    return True if plan.devices == ("none",) else None


OPTIONS = (
    Option(value=lambda p: p.model, attribute="model.path", flags=("--model",), needed=True),
    Option(value=lambda p: {p.name}, attribute="model_alias"),
    Option(value=lambda p: p.name, flags=("--alias",)),
    Option(
        value=lambda p: p.context_tokens * p.parallel, attribute="n_ctx", flags=("--ctx-size",), needed=True
    ),
    Option(value=lambda p: p.parallel, attribute="n_parallel", flags=("--parallel",), needed=True),
    Option(value=lambda _: False, attribute="kv_unified", flags=("--no-kv-unified",), switch=True),
    Option(value=lambda _: False, attribute="fit_params"),
    Option(value=lambda _: "off", flags=("--fit",)),
    Option(value=lambda _: False, attribute="ui", flags=("--no-ui", "--no-webui"), switch=True),
    Option(value=lambda _: True, attribute="use_jinja", flags=("--jinja",), switch=True),
    Option(value=lambda _: True, attribute="offline", flags=("--offline",), switch=True),
    Option(value=lambda _: True, attribute="endpoint_slots", flags=("--slots",), switch=True),
    Option(value=lambda _: True, attribute="endpoint_metrics", flags=("--metrics",), switch=True),
    Option(
        value=lambda p: p.checkpoints,
        attribute="n_ctx_checkpoints",
        flags=("--ctx-checkpoints", "--swa-checkpoints"),
    ),
    Option(value=lambda p: p.cache_mib, attribute="cache_ram_mib", flags=("--cache-ram",)),
    Option(value=lambda p: p.threads, attribute="cpuparams.n_threads", flags=("--threads",)),
    Option(value=lambda p: p.threads, attribute="cpuparams_batch.n_threads", flags=("--threads-batch",)),
    # A request holds a thread while it waits for a slot; without one it is not even read.
    Option(value=lambda p: 64 + 8 * p.parallel, attribute="n_threads_http", flags=("--threads-http",)),
    Option(value=lambda p: p.gpu_layers, attribute="n_gpu_layers", flags=("--n-gpu-layers", "-ngl")),
    Option(value=lambda p: ",".join(p.devices) or None, flags=("--device",)),
    Option(value=_on_processor, attribute="no_op_offload", flags=("--no-op-offload",), switch=True),
    Option(value=_on_processor, attribute="no_kv_offload", flags=("--no-kv-offload",), switch=True),
    Option(
        value=lambda p: p.flash_attention,
        attribute="flash_attn_type",
        convert=_flash,
        flags=("--flash-attn",),
    ),
    Option(
        value=lambda p: p.cache_type_k,
        attribute="cache_type_k",
        convert=_cache_type,
        flags=("--cache-type-k",),
    ),
    Option(
        value=lambda p: p.cache_type_v,
        attribute="cache_type_v",
        convert=_cache_type,
        flags=("--cache-type-v",),
    ),
    Option(value=_batch, attribute="n_batch", flags=("--batch-size",)),
    Option(value=_physical_batch, attribute="n_ubatch", flags=("--ubatch-size",)),
    Option(
        value=lambda p: True if p.kind != "chat" else None,
        attribute="embedding",
        flags=("--embeddings", "--embedding"),
        switch=True,
        needed=True,
    ),
    Option(
        value=lambda p: "rank" if p.kind == "rerank" else None,
        attribute="pooling_type",
        convert=_pooling,
        flags=("--pooling",),
        needed=True,
    ),
    Option(value=lambda p: p.mmproj or None, attribute="mmproj.path", flags=("--mmproj",), needed=True),
    Option(
        value=lambda p: False if p.mmproj and not p.gpu_layers else None,
        attribute="mmproj_use_gpu",
        flags=("--no-mmproj-offload",),
        switch=True,
    ),
    Option(
        value=lambda p: p.loras or None,
        attribute="lora_adapters",
        convert=_adapters,
        flags=("--lora",),
        needed=True,
    ),
    Option(
        value=lambda p: p.draft or None,
        attribute="speculative.draft.mparams.path",
        flags=("--model-draft", "--spec-draft-model"),
        needed=True,
    ),
    Option(value=lambda p: p.draft or None, attribute="speculative.types", convert=_draft_types),
    Option(
        value=lambda p: p.draft_tokens if p.draft else None,
        attribute="speculative.draft.n_max",
        flags=("--draft-max", "--spec-draft-n-max"),
    ),
    Option(
        value=lambda p: p.gpu_layers if p.draft else None,
        attribute="speculative.draft.n_gpu_layers",
        flags=("--gpu-layers-draft", "--spec-draft-ngl"),
    ),
)


def common_params(plan: LaunchPlan, llama: ModuleType) -> Any:
    """The plan as the built-in server takes it. `llama` is the module xllamacpp."""
    params = llama.CommonParams()
    for option in OPTIONS:
        value = option.value(plan)
        if option.attribute and value is not None:
            *path, last = option.attribute.split(".")
            holder = params
            for step in path:
                holder = getattr(holder, step)
            setattr(holder, last, option.convert(llama, value))
    return params


def arguments(plan: LaunchPlan, known: Collection[str]) -> list[str]:
    """The plan as arguments of a llama-server whose help knows the flags `known`.

    Raises UnknownOption for one that it lacks and the model needs.
    """
    return [word for option in OPTIONS for word in _words(option, option.value(plan), known)]


def _words(option: Option, value: Any, known: Collection[str]) -> Iterator[str]:
    if value is None or not option.flags:
        return
    flag = next((spelling for spelling in option.flags if spelling in known), None)
    if flag is None:
        if option.needed:
            raise UnknownOption(f"this llama-server does not know {option.flags[0]}")
    elif option.switch:
        yield flag
    else:
        for each in value if isinstance(value, tuple) else (value,):
            yield from (flag, str(each))
