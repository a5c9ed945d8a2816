"""The built-in embedder."""

import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from casona.library.embed import Builtin, DamagedEmbedder

BUILTIN = Path(str(files("casona.library") / "builtin"))


@pytest.fixture(scope="module")
def builtin() -> Builtin:
    return Builtin()


def test_vectors_have_length_one(builtin: Builtin) -> None:
    vectors = builtin.embed(
        ["A queen bee lays eggs.", "¿Dónde está la biblioteca?", "x" * 100_000, "9,81 m/s²"]
    )
    assert (vectors.shape, vectors.dtype, builtin.dimensions) == ((4, 256), np.float32, 256)
    assert np.linalg.norm(vectors, axis=1).round(5).tolist() == [1, 1, 0, 1]


def test_a_text_without_known_words_gives_zeros(builtin: Builtin) -> None:
    assert not builtin.embed(["", " \n", "𓂀𓂀"]).any()
    assert builtin.embed([]).shape == (0, 256)


def test_meaning_is_near_meaning(builtin: Builtin) -> None:
    texts = ["The physician treated the patient.", "A doctor cured sick people.", "The train was late again."]
    doctor, physician, train = builtin.embed(texts)
    assert doctor @ physician > 0.4 > 0.2 > doctor @ train


def test_a_vector_depends_on_its_text_alone(builtin: Builtin) -> None:
    texts = ["Tides rise.", "Bees hum.", "Moons pull seas."]
    together = builtin.embed(texts)
    assert all((together[i] == Builtin().embed([text])[0]).all() for i, text in enumerate(texts))
    assert (builtin.embed(["CANCIÓN, naïve"]) == builtin.embed(["cancion, naive"])).all()


def test_words_are_cut_as_bert_cuts_them(builtin: Builtin) -> None:
    names = (BUILTIN / "vocabulary.txt").read_text().split("\n")
    pieces = [names[row] for row in builtin._pieces.of("Unaffable embeddings, don't! 東京")]
    assert pieces == [
        "una",
        "##ffa",
        "##ble",
        "em",
        "##bed",
        "##ding",
        "##s",
        ",",
        "don",
        "'",
        "t",
        "!",
        "東",
        "京",
    ]


@pytest.mark.parametrize("name", ["table.int8", "scales.float32", "vocabulary.txt"])
def test_a_damaged_table_is_not_used(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "builtin"
    shutil.copytree(BUILTIN, folder)
    raw = bytearray((folder / name).read_bytes())
    raw[-2] ^= 1
    (folder / name).write_bytes(raw)
    with pytest.raises(DamagedEmbedder, match=name):
        Builtin(folder)
