"""One plan in both of llama.cpp's languages."""

import pytest
import xllamacpp

from casona.engine.options import OPTIONS, LaunchPlan, UnknownOption, arguments, common_params

PLAN = LaunchPlan(
    name="house",
    model="/models/house.gguf",
    context_tokens=4096,
    parallel=4,
    threads=6,
    gpu_layers=20,
    devices=("CUDA0", "CUDA1"),
    flash_attention="on",
    cache_type_k="q8_0",
    cache_type_v="q4_0",
    cache_mib=64,
    checkpoints=2,
    mmproj="/models/mmproj.gguf",
    loras=("/a.gguf", "/b.gguf"),
    draft="/models/draft.gguf",
    draft_tokens=8,
)
NEWEST = frozenset(option.flags[0] for option in OPTIONS if option.flags)


def test_the_built_in_server_gets_the_plan() -> None:
    params = common_params(PLAN, xllamacpp)
    assert (params.model.path, params.model_alias, params.mmproj.path) == (
        "/models/house.gguf",
        {"house"},
        "/models/mmproj.gguf",
    )
    assert (params.n_ctx, params.n_parallel, params.kv_unified) == (16384, 4, False)
    assert (params.fit_params, params.ui, params.use_jinja, params.cache_ram_mib) == (False, False, True, 64)
    assert (params.endpoint_slots, params.endpoint_metrics, params.embedding) == (True, True, False)
    assert (params.n_gpu_layers, params.cpuparams.n_threads, params.n_ctx_checkpoints) == (20, 6, 2)
    assert params.flash_attn_type == xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    assert params.cache_type_k == xllamacpp.ggml_type.GGML_TYPE_Q8_0
    assert params.cache_type_v == xllamacpp.ggml_type.GGML_TYPE_Q4_0
    assert [adapter.path for adapter in params.lora_adapters] == ["/a.gguf", "/b.gguf"]
    draft = params.speculative.draft
    assert (draft.mparams.path, draft.n_max) == ("/models/draft.gguf", 8)
    assert params.speculative.types == [
        xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE
    ]


def test_a_program_gets_the_plan() -> None:
    assert arguments(PLAN, NEWEST) == [
        *("--model", "/models/house.gguf", "--alias", "house", "--ctx-size", "16384", "--parallel", "4"),
        *("--no-kv-unified", "--fit", "off", "--no-ui", "--jinja", "--offline", "--slots", "--metrics"),
        *("--ctx-checkpoints", "2", "--cache-ram", "64", "--threads", "6", "--threads-batch", "6"),
        *("--threads-http", "96", "--n-gpu-layers", "20", "--device", "CUDA0,CUDA1", "--flash-attn", "on"),
        *("--cache-type-k", "q8_0", "--cache-type-v", "q4_0", "--batch-size", "512", "--ubatch-size", "512"),
        *("--mmproj", "/models/mmproj.gguf", "--lora", "/a.gguf", "--lora", "/b.gguf"),
        *("--model-draft", "/models/draft.gguf", "--draft-max", "8", "--gpu-layers-draft", "20"),
    ]


def test_an_embedder_reads_its_whole_context_at_once() -> None:
    plan = LaunchPlan(name="e", model="e.gguf", kind="embed", context_tokens=2048)
    params = common_params(plan, xllamacpp)
    assert (params.embedding, params.n_batch, params.n_ubatch) == (True, 2048, 2048)
    assert "--embeddings" in arguments(plan, NEWEST)


def test_a_reranker_pools_by_rank() -> None:
    plan = LaunchPlan(name="r", model="r.gguf", kind="rerank")
    params = common_params(plan, xllamacpp)
    assert (params.embedding, params.pooling_type.name) == (True, "LLAMA_POOLING_TYPE_RANK")
    words = arguments(plan, NEWEST)
    assert words[words.index("--pooling") + 1] == "rank"


def test_on_the_processor_nothing_goes_to_a_gpu() -> None:
    plan = LaunchPlan(name="c", model="c.gguf", mmproj="p.gguf", devices=("none",))
    params = common_params(plan, xllamacpp)
    assert (params.n_gpu_layers, params.no_op_offload, params.no_kv_offload) == (0, True, True)
    assert params.mmproj_use_gpu is False
    words = arguments(plan, NEWEST)
    assert words[words.index("--device") + 1] == "none"


def test_an_older_program_is_spoken_to_in_its_own_words() -> None:
    plan = LaunchPlan(name="o", model="o.gguf", draft="d.gguf")
    known = {"--model", "--ctx-size", "--parallel", "--no-webui", "--spec-draft-model", "-ngl"}
    assert arguments(plan, known) == [
        *("--model", "o.gguf", "--ctx-size", "4096", "--parallel", "1", "--no-webui", "-ngl", "0"),
        *("--spec-draft-model", "d.gguf"),
    ]


def test_what_a_model_cannot_do_without_is_not_left_out() -> None:
    plan = LaunchPlan(name="v", model="v.gguf", mmproj="p.gguf")
    with pytest.raises(UnknownOption, match="does not know --mmproj"):
        arguments(plan, NEWEST - {"--mmproj"})
