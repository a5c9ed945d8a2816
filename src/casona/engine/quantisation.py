"""How GGUF files store numbers: tensor types, file types, and which to prefer.

Sources: ggml's `ggml.h` and `ggml-common.h` (block sizes), llama.cpp's `llama.h` (`llama_ftype`).
"""

import re

# Tensor type id -> (name, numbers in a block, bytes of a block).
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}

# `general.file_type` -> the name people know.
FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
}

# Which file of a repository to take when none was asked for: 4 bits first (the best answer for the
# memory), then up to what still runs well, then down, then whole precision.
PREFERENCE = (
    "Q4_K_M",
    "Q4_K_XL",
    "Q4_K_L",
    "Q4_K_S",
    "MXFP4",
    "MXFP4_MOE",
    "IQ4_XS",
    "IQ4_NL",
    "Q4_0",
    "Q4_1",
    "Q5_K_M",
    "Q5_K_S",
    "Q5_0",
    "Q5_1",
    "Q6_K",
    "Q8_0",
    "Q3_K_M",
    "Q3_K_L",
    "IQ3_M",
    "Q3_K_S",
    "BF16",
    "F16",
    "F32",
)

_IN_NAME = re.compile(
    r"(?:^|[-_.])(?:UD-)?"
    r"(I?Q\d+(?:_[A-Z0-9]+){0,2}|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32)(?=$|[-_.])",
    re.IGNORECASE,
)


def in_name(stem: str) -> str:
    """The quantisation a file name ends in or mentions last, in capitals, or ""."""
    found = _IN_NAME.findall(stem)
    return found[-1].upper().replace("FP16", "F16").replace("FP32", "F32") if found else ""


def without(stem: str) -> str:
    """A file name's stem less its quantisation: what all quantisations of a model share."""
    return _IN_NAME.sub("", stem)


def row_bytes(type_id: int, numbers: int) -> int | None:
    """Bytes that `numbers` take in this type, or None when the type is unknown here."""
    known = TENSOR_TYPES.get(type_id)
    return None if known is None else -(-numbers // known[1]) * known[2]
