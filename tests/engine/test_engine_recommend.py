import pytest

from casona.engine.recommend import best, first_start_advice, offer, recommend
from casona.engine.sizing import reserve_bytes

GB = 10**9
GIB = 2**30


@pytest.mark.parametrize("unit", [GB, GIB])
@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (4, "llama3.2:1b"),
        (8, "llama3.2:3b"),
        (16, "llama3.1:8b"),
        (24, "qwen2.5:14b"),
        (48, "qwen2.5:32b"),
        (64, "llama3.3:70b"),
    ],
)
def test_a_memory_has_its_class_of_models(memory: int, unit: int, expected: str) -> None:
    found = best(memory * unit)
    assert found and found.name == expected


@pytest.mark.parametrize("memory", [7.6, 15.4, 23.2, 47, 62.5])
def test_what_the_kernel_keeps_does_not_change_the_class(memory: float) -> None:
    nominal = {7.6: 8, 15.4: 16, 23.2: 24, 47: 48, 62.5: 64}[memory]
    assert best(int(memory * GIB)) == best(nominal * GIB)


def test_what_fits_is_a_matter_of_file_and_cache() -> None:
    for memory in (2 * GIB, 6 * GIB, 12 * GIB, 20 * GIB, 40 * GIB, 100 * GIB):
        for one in recommend(memory):
            assert one.needs_bytes > one.file_bytes
            assert one.fits == (one.needs_bytes <= memory - reserve_bytes(memory))


def test_they_come_from_small_to_large() -> None:
    needs = [one.needs_bytes for one in recommend(64 * GIB)]
    assert needs == sorted(needs)


def test_the_first_start_is_told_the_command() -> None:
    assert first_start_advice(16 * GIB) == (
        "no model yet; for this machine: casona pull llama3.1:8b  "
        "(Q4_K_M, 4.9 GB on disk; more: casona pull --recommend)"
    )
    assert "too little memory" in first_start_advice(GIB // 2)


def test_the_best_is_offered_and_may_be_declined() -> None:
    asked: list[str] = []

    def answer(question: str, *, yes: bool) -> bool:
        asked.append(question)
        return yes

    assert offer(16 * GIB, lambda question: answer(question, yes=True)) == "llama3.1:8b"
    assert offer(16 * GIB, lambda question: answer(question, yes=False)) == ""
    assert offer(GIB // 2, lambda question: answer(question, yes=True)) == ""
    assert asked == ["No model yet. Pull llama3.1:8b (Q4_K_M, 4.9 GB) now?"] * 2
