"""The language of passages and of short questions."""

import json
from pathlib import Path

import pytest

from casona.library.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is the contract?", "en"),
        ("¿Dónde está el contrato?", "es"),
        ("Où se trouve le contrat de location ?", "fr"),
        ("Wo ist der Vertrag für die Wohnung?", "de"),
        ("Dove si trova il contratto di affitto?", "it"),
        ("Onde está o contrato de aluguel do apartamento?", "pt"),
        ("On és el contracte del pis i qui el va signar?", "ca"),
        ("Waar is het contract van de woning?", "nl"),
        ("Где находится договор?", "ru"),
        ("Де знаходиться договір?", "uk"),
        ("契約書はどこにありますか", "ja"),
        ("合同在哪里", "zh"),
        ("계약서는 어디에 있습니까", "ko"),
        ("أين العقد؟", "ar"),
        ("Πού είναι το συμβόλαιο;", "el"),
        ("12,5 % | 2024-01-01", ""),
        ("", ""),
        ("\ud800 \x00", ""),
    ],
)
def test_the_language_of_a_question(text: str, language: str) -> None:
    assert language_of(text) == language


def test_labels_of_a_chart_are_no_language() -> None:
    assert language_of("En Aux v k w a " * 20) == ""


def share(texts: list[str], language: str) -> float:
    return sum(language_of(text) == language for text in texts) / len(texts)


def test_passages_and_questions_of_real_corpora(shared: Path) -> None:
    folder = shared / "data/retrieval"

    def read(name: str, field: str) -> list[str]:
        return [json.loads(line)[field] for line in (folder / name).read_text().splitlines()]

    spanish = [text for text in read("squad-es/queries.jsonl", "text") if len(text.split()) >= 5]
    assert share(read("squad-es/corpus.jsonl", "text"), "es") > 0.99
    assert share(spanish, "es") > 0.97
    assert share(read("chunking-en/questions.jsonl", "question"), "en") > 0.97
    for path in (folder / "chunking-en/corpora").glob("*.md"):
        text = path.read_text()
        assert share([text[start : start + 800] for start in range(0, len(text), 800)], "en") > 0.99
