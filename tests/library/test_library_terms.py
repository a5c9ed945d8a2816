"""What the lexical leg looks for."""

import pytest

from casona.library.terms import STEMMERS, fold, question_terms, terms


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("The company's dogs aren't RUNNING", "en", ["compani", "dog", "aren", "run"]),
        ("¿Dónde están las canciones de la niña?", "es", ["cancion", "nin"]),
        ("Die Häuser der Straße", "de", ["haus", "strass"]),
        ("L'économie française", "fr", ["econom", "franc"]),
        ("Канцелярия городов", "ru", ["канцеляр", "город"]),
        ("running dogs", "", ["running", "dogs"]),
        ("running dogs", "xx", ["running", "dogs"]),
        ("file_name v2.10", "", ["file", "name", "v2", "10"]),
        ("ﬁve ① ＡＢＣ", "", ["five", "1", "abc"]),
        ("東京都の人口", "", ["東京", "京都", "都の", "の人", "人口"]),
        ("हिन्दी", "", ["हिन्दी"]),
        ("", "en", []),
        ("… — ¡!", "es", []),
    ],
)
def test_text_becomes_terms(text: str, language: str, expected: list[str]) -> None:
    assert terms(text, language) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [("canción", "CANCIONES"), ("habló", "hablo"), ("árboles", "arbol"), ("hablaría", "hablaria")],
)
def test_spanish_is_found_without_accents_and_in_other_forms(one: str, other: str) -> None:
    assert terms(one, "es") == terms(other, "es")


def test_every_language_has_its_stemmer() -> None:
    for language in STEMMERS:
        assert terms("Madrid 2024", language)[-1] == "2024"


def test_a_word_without_end_is_cut() -> None:
    assert [len(term) for term in terms("a" * 100_000, "en")] == [64]


def test_folding_leaves_other_scripts_alone() -> None:
    assert [fold(word) for word in ("canción", "niño", "が", "हिन्दी", "한국")] == [
        "cancion",
        "nino",
        "が",
        "हिन्दी",
        "한국",
    ]


def test_a_question_loses_the_stop_words_of_its_own_language() -> None:
    asked = question_terms("What is the capital of Bavaria?", ["de", "en"], asked_in="en")
    assert sorted(asked) == [("de", "bavaria"), ("de", "capital"), ("en", "bavaria"), ("en", "capit")]


def test_a_question_of_stop_words_keeps_them() -> None:
    assert list(question_terms("to be or not to be", [""], asked_in="en")) == [
        ("", word) for word in ["to", "be", "or", "not", "to", "be"]
    ]
