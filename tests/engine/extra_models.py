"""Small files that go beside the tiny model: an adapter, and a vision projector, with random weights."""

from pathlib import Path

import gguf
import numpy as np

WIDTH, RANK = 64, 4
IMAGE, PATCH, VISION_WIDTH, VISION_LAYERS, VISION_HEADS = 28, 14, 32, 2, 2

SHAPE = {
    "image_size": IMAGE,
    "patch_size": PATCH,
    "embedding_length": VISION_WIDTH,
    "feed_forward_length": 2 * VISION_WIDTH,
    "projection_dim": WIDTH,
    "block_count": VISION_LAYERS,
    "attention.head_count": VISION_HEADS,
}


def write_adapter(path: Path, *, width: int = WIDTH) -> Path:
    """A LoRA adapter of the tiny model's first query matrix; another `width` fits another model."""
    out = gguf.GGUFWriter(path, "llama")
    out.add_type(gguf.GGUFType.ADAPTER)
    out.add_string(gguf.Keys.Adapter.TYPE, "lora")
    out.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 8.0)
    random = np.random.default_rng(1)
    out.add_tensor("blk.0.attn_q.weight.lora_a", random.standard_normal((RANK, width)).astype(np.float32))
    out.add_tensor("blk.0.attn_q.weight.lora_b", random.standard_normal((width, RANK)).astype(np.float32))
    return _finished(out, path)


def write_projector(path: Path) -> Path:
    """A CLIP encoder of two layers with LLaVA's projector onto the tiny model's width."""
    out = gguf.GGUFWriter(path, "clip")
    out.add_type(gguf.GGUFType.MMPROJ)
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    out.add_bool("clip.has_vision_encoder", True)
    out.add_bool("clip.has_llava_projector", True)
    out.add_string("clip.projector_type", "mlp")
    out.add_bool("clip.use_gelu", False)
    for key, value in SHAPE.items():
        out.add_uint32(f"clip.vision.{key}", value)
    out.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    out.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    out.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    random = np.random.default_rng(2)

    def put(name: str, *shape: int) -> None:
        out.add_tensor(name, (random.standard_normal(shape) * 0.05).astype(np.float32))

    places = (IMAGE // PATCH) ** 2 + 1
    put("v.class_embd", VISION_WIDTH)
    put("v.patch_embd.weight", VISION_WIDTH, 3, PATCH, PATCH)
    put("v.position_embd.weight", places, VISION_WIDTH)
    for norm in ("pre_ln", "post_ln"):
        put(f"v.{norm}.weight", VISION_WIDTH)
        put(f"v.{norm}.bias", VISION_WIDTH)
    for layer in range(VISION_LAYERS):
        sizes = {"attn_q": 1, "attn_k": 1, "attn_v": 1, "attn_out": 1, "ffn_down": 2, "ffn_up": 1}
        for name, wide in sizes.items():
            outputs = 2 * VISION_WIDTH if name == "ffn_up" else VISION_WIDTH
            put(f"v.blk.{layer}.{name}.weight", outputs, wide * VISION_WIDTH)
            put(f"v.blk.{layer}.{name}.bias", outputs)
        for norm in ("ln1", "ln2"):
            put(f"v.blk.{layer}.{norm}.weight", VISION_WIDTH)
            put(f"v.blk.{layer}.{norm}.bias", VISION_WIDTH)
    for step, inputs in ((0, VISION_WIDTH), (2, WIDTH)):
        put(f"mm.{step}.weight", WIDTH, inputs)
        put(f"mm.{step}.bias", WIDTH)
    return _finished(out, path)


def _finished(out: gguf.GGUFWriter, path: Path) -> Path:
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
