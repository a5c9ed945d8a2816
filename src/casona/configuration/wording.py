"""Pydantic's findings as sentences of ours: what is wrong with a setting, and what to write instead.

A value is shown only where it is a number or one of a few words, so that no secret reaches a log.
"""

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from casona.configuration.places import Draft, Path, Problem
from casona.configuration.schema import did_you_mean, nearest, spot

_SENTENCES = {
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of a sensible size",
    "int_from_float": "must be a whole number, is {input}",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}, is {input}",
    "greater_than_equal": "must be at least {ge}, is {input}",
    "less_than": "must be less than {lt}, is {input}",
    "less_than_equal": "must be at most {le}, is {input}",
    "tuple_type": "must be a list such as [a, b]",
    "dict_type": "must be a map such as {{name: value}}",
    "model_type": "must be a map such as {{name: value}}",
    "model_attributes_type": "must be a map such as {{name: value}}",
    "too_short": "must have at least {min_length} entry",
    "missing": "is required. {meaning}",
    "string_pattern_mismatch": "is not understood. {meaning}",
}
_NAME_RULE = "is no name: use up to 64 letters, digits, `.`, `_` and `-`"


def worded(fault: ValidationError, draft: Draft) -> list[Problem]:
    return [_problem(error, draft) for error in fault.errors(include_url=False)]


def unknown(guess: str) -> str:
    return f"no such setting; did you mean {guess}?" if guess else "no such setting; docs/settings.md has all"


def _problem(error: ErrorDetails, draft: Draft) -> Problem:
    path: Path = error["loc"]
    if path[-1:] == ("[key]",):
        return draft.problem(path[:-1], _NAME_RULE)
    return draft.problem(path, _message(error, path))


def _message(error: ErrorDetails, path: Path) -> str:
    if error["type"] == "extra_forbidden":
        return unknown(did_you_mean(path))
    if error["type"] in ("enum", "literal_error"):
        return _of_words(error)
    if error["type"] == "string_pattern_mismatch" and path[-1:] == ("name",):
        return _NAME_RULE
    found = spot(path)
    words: dict[str, Any] = {
        "meaning": (found and found.field and found.field.description) or "",
        "input": str(error["input"])[:40],
        **{name: _short(value) for name, value in error.get("ctx", {}).items()},
    }
    sentence = _SENTENCES.get(error["type"])
    return sentence.format(**words).strip() if sentence else error["msg"]


def _short(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _of_words(error: ErrorDetails) -> str:
    expected = error["ctx"]["expected"].replace("'", "")
    message = f"must be one of {expected.replace(' or ', ', ')}"
    given = error["input"]
    guess = nearest(given, expected.replace(" or ", ", ").split(", ")) if isinstance(given, str) else ""
    return f"{message}; did you mean {guess}?" if guess else message
