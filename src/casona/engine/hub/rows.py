"""Models of Ollama's registry whose files llama.cpp does not load, and where the same model is that it does.

Ollama's own engine packs vision towers into the model's file or names architectures differently;
llama.cpp then stops with "wrong number of tensors" or "unknown model architecture", as in
https://github.com/ggml-org/llama.cpp/issues/27349 (gemma4). The repositories are those of
llama.cpp's maintainers: https://github.com/ggml-org/llama.cpp/blob/master/docs/multimodal.md.
"""

from dataclasses import replace

from casona.engine.hub.reference import Reference, parse

# Model of Ollama's library -> its tags' beginnings -> repository.
MISFITS: dict[str, dict[str, str]] = {
    "gemma3": {
        "4b": "ggml-org/gemma-3-4b-it-GGUF",
        "12b": "ggml-org/gemma-3-12b-it-GGUF",
        "27b": "ggml-org/gemma-3-27b-it-GGUF",
        "latest": "ggml-org/gemma-3-4b-it-GGUF",
    },
    "gemma4": {
        "e2b": "ggml-org/gemma-4-E2B-it-GGUF",
        "e4b": "ggml-org/gemma-4-E4B-it-GGUF",
        "12b": "ggml-org/gemma-4-12B-it-GGUF",
        "26b": "ggml-org/gemma-4-26B-A4B-it-GGUF",
        "31b": "ggml-org/gemma-4-31B-it-GGUF",
        "latest": "ggml-org/gemma-4-E4B-it-GGUF",
    },
    "gpt-oss": {
        "20b": "ggml-org/gpt-oss-20b-GGUF",
        "120b": "ggml-org/gpt-oss-120b-GGUF",
        "latest": "ggml-org/gpt-oss-20b-GGUF",
    },
    "qwen2.5vl": {
        "3b": "ggml-org/Qwen2.5-VL-3B-Instruct-GGUF",
        "7b": "ggml-org/Qwen2.5-VL-7B-Instruct-GGUF",
        "32b": "ggml-org/Qwen2.5-VL-32B-Instruct-GGUF",
        "72b": "ggml-org/Qwen2.5-VL-72B-Instruct-GGUF",
        "latest": "ggml-org/Qwen2.5-VL-7B-Instruct-GGUF",
    },
    "mistral-small3.1": {
        "24b": "ggml-org/Mistral-Small-3.1-24B-Instruct-2503-GGUF",
        "latest": "ggml-org/Mistral-Small-3.1-24B-Instruct-2503-GGUF",
    },
}


def instead(reference: Reference) -> Reference | None:
    """Where to pull a known misfit from; it keeps the name it was asked by. None for all others."""
    if reference.hub != "ollama" or reference.host or reference.namespace != "library":
        return None
    tag = reference.tag.lower()
    if tag.endswith("cloud"):
        return None
    for beginning, repository in MISFITS.get(reference.model.lower(), {}).items():
        if tag == beginning or tag.startswith(f"{beginning}-"):
            return replace(parse(f"hf.co/{repository}:{_quantisation(tag)}"), name=reference.name)
    return None


def _quantisation(tag: str) -> str:
    """Ollama's tags end in the quantisation: `4b-it-q8_0`; `qat` and the plain tag mean the usual one."""
    last = tag.rsplit("-", 1)[-1]
    return {"q8_0": "Q8_0", "fp16": "F16", "f16": "F16", "bf16": "BF16"}.get(last, "latest")
