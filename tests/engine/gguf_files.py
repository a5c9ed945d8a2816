"""Small GGUF files of many kinds, that the real engine loads. Their weights are all the same number."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


class Model:
    """A GGUF file being written."""

    def __init__(
        self, path: Path, architecture: str, *, layers: int, width: int = 64, tokens: int = 300
    ) -> None:
        self.path = path
        self.layers = layers
        self.width = width
        self.out = gguf.GGUFWriter(path, architecture)
        self.out.add_context_length(131_072)
        self.out.add_embedding_length(width)
        self.out.add_block_count(layers)
        self.out.add_layer_norm_rms_eps(1e-5)
        _add_vocabulary(self.out, tokens)
        self.add("token_embd.weight", tokens, width)
        self.add("output_norm.weight", width)

    def add(self, name: str, *shape: int) -> None:
        self.out.add_tensor(name, np.full(shape, 0.01, np.float32))

    def add_to_layers(self, shapes: dict[str, Sequence[int]]) -> None:
        for layer in range(self.layers):
            for name, shape in shapes.items():
                self.add(f"blk.{layer}.{name}", *shape)

    def write(self) -> Path:
        self.out.write_header_to_file()
        self.out.write_kv_data_to_file()
        self.out.write_tensors_to_file()
        self.out.close()
        return self.path


def _add_vocabulary(out: gguf.GGUFWriter, count: int) -> None:
    tokens = [chr(0x100 + n) for n in range(256)]
    tokens += [f"<x{n}>" for n in range(count - 256 - 3)] + [END, START, STOP]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.NORMAL] * (count - 3) + [gguf.TokenType.CONTROL] * 3)
    out.add_token_merges([f"{tokens[0]} {tokens[1]}"])
    out.add_bos_token_id(count - 3)
    out.add_eos_token_id(count - 1)


def _attention(
    width: int, heads: int, kv_heads: int, head: int, feed_forward: int
) -> dict[str, Sequence[int]]:
    return {
        "attn_norm.weight": (width,),
        "ffn_norm.weight": (width,),
        "attn_q.weight": (heads * head, width),
        "attn_k.weight": (kv_heads * head, width),
        "attn_v.weight": (kv_heads * head, width),
        "attn_output.weight": (width, heads * head),
        "ffn_gate.weight": (feed_forward, width),
        "ffn_up.weight": (feed_forward, width),
        "ffn_down.weight": (width, feed_forward),
    }


def _common(model: Model, *, heads: int, kv_heads: int, head: int, feed_forward: int) -> None:
    model.out.add_head_count(heads)
    model.out.add_head_count_kv(kv_heads)
    model.out.add_key_length(head)
    model.out.add_value_length(head)
    model.out.add_feed_forward_length(feed_forward)


def grouped(path: Path, *, tokens: int = 300, width: int = 64, feed_forward: int = 128) -> Path:
    """Eight query heads on two key heads, whose length is not the width by the heads."""
    model = Model(path, "llama", layers=2, width=width, tokens=tokens)
    _common(model, heads=8, kv_heads=2, head=32, feed_forward=feed_forward)
    model.out.add_rope_dimension_count(32)
    model.out.add_vocab_size(tokens)
    model.add("output.weight", tokens, width)
    model.add_to_layers(_attention(width, 8, 2, 32, feed_forward))
    return model.write()


def windowed(path: Path) -> Path:
    """Gemma 3: five layers of six see only a window."""
    model = Model(path, "gemma3", layers=12)
    _common(model, heads=4, kv_heads=2, head=32, feed_forward=128)
    model.out.add_sliding_window(512)
    extra = {"post_attention_norm.weight": (64,), "post_ffw_norm.weight": (64,)}
    norms = {"attn_q_norm.weight": (32,), "attn_k_norm.weight": (32,)}
    model.add_to_layers({**_attention(64, 4, 2, 32, 128), **extra, **norms})
    return model.write()


def latent(path: Path) -> Path:
    """DeepSeek: multi-head latent attention."""
    model = Model(path, "deepseek2", layers=2)
    out, rank, rope, length = model.out, 64, 16, 32
    _common(model, heads=4, kv_heads=1, head=rank + rope, feed_forward=128)
    for add, value in (
        (out.add_key_length_mla, length),
        (out.add_value_length_mla, 16),
        (out.add_kv_lora_rank, rank),
        (out.add_q_lora_rank, 32),
        (out.add_rope_dimension_count, rope),
        (out.add_leading_dense_block_count, 2),
        (out.add_expert_count, 4),
        (out.add_expert_used_count, 2),
        (out.add_expert_feed_forward_length, 32),
        (out.add_expert_shared_count, 1),
        (out.add_vocab_size, 300),
    ):
        add(value)
    out.add_expert_weights_scale(1.0)
    model.add("output.weight", 300, 64)
    shapes: dict[str, Any] = {
        "attn_norm.weight": (64,),
        "ffn_norm.weight": (64,),
        "attn_q_a_norm.weight": (32,),
        "attn_kv_a_norm.weight": (rank,),
        "attn_q_a.weight": (32, 64),
        "attn_q_b.weight": (4 * length, 32),
        "attn_kv_a_mqa.weight": (rank + rope, 64),
        "attn_k_b.weight": (4, rank, length - rope),
        "attn_v_b.weight": (4, 16, rank),
        "attn_output.weight": (64, 4 * 16),
        "ffn_gate.weight": (128, 64),
        "ffn_up.weight": (128, 64),
        "ffn_down.weight": (64, 128),
    }
    model.add_to_layers(shapes)
    return model.write()


def recurrent(path: Path) -> Path:
    """Mamba: a state of fixed size and no cache that grows."""
    model = Model(path, "mamba", layers=3)
    inner, state, kernel, rank = 128, 16, 4, 4
    model.out.add_head_count(0)
    model.out.add_feed_forward_length(0)
    model.out.add_ssm_inner_size(inner)
    model.out.add_ssm_state_size(state)
    model.out.add_ssm_conv_kernel(kernel)
    model.out.add_ssm_time_step_rank(rank)
    model.add_to_layers(
        {
            "attn_norm.weight": (64,),
            "ssm_in.weight": (2 * inner, 64),
            "ssm_conv1d.weight": (inner, kernel),
            "ssm_conv1d.bias": (inner,),
            "ssm_x.weight": (rank + 2 * state, inner),
            "ssm_dt.weight": (inner, rank),
            "ssm_dt.bias": (inner,),
            "ssm_a": (inner, state),
            "ssm_d": (inner,),
            "ssm_out.weight": (64, inner),
        }
    )
    return model.write()


def projector(path: Path, *, width: int) -> Path:
    """The header of a vision projector; nothing would load it."""
    out = gguf.GGUFWriter(path, "clip")
    out.add_type("mmproj")
    out.add_uint32("clip.vision.projection_dim", width)
    out.add_tensor("mm.0.weight", np.ones((4, 4), np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def shards(first: Path, count: int, *, claims: int | None = None) -> list[Path]:
    """A llama model cut into parts that belong together by their names and numbers."""
    stem = first.stem
    paths = [first.with_name(f"{stem}-{n + 1:05}-of-{count:05}.gguf") for n in range(count)]
    for number, path in enumerate(paths):
        out = gguf.GGUFWriter(path, "llama")
        out.add_uint16("split.no", number)
        out.add_uint16("split.count", claims or count)
        if number == 0:
            out.add_context_length(1024)
            out.add_embedding_length(8)
            out.add_block_count(1)
            out.add_head_count(1)
        out.add_tensor(f"part{number}", np.ones((8, 8), np.float32))
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_tensors_to_file()
        out.close()
    return paths
