"""Settings given in the environment, and the `.env` file beside `casona.yaml`.

`CASONA_SERVER__PORT=9000` is `server.port`. Values are YAML: a list or map replaces the whole setting.
"""

import io
from collections.abc import Mapping
from typing import Any

from dotenv.parser import parse_stream

from casona.configuration.document import Malformed, parse_value
from casona.configuration.places import Draft, Path, Place, Problem, dotted
from casona.configuration.schema import Spot, did_you_mean, nearest, spot
from casona.configuration.wording import unknown
from casona.settings import Settings

PREFIX = "CASONA_"
NOT_SETTINGS = frozenset({"CASONA_HOME", "CASONA_SHARED", "CASONA_URL", "CASONA_API_KEY"})


def read_dotenv(text: str, source: str) -> tuple[dict[str, str], dict[str, Place], list[Problem]]:
    """The variables of a `.env` file with their lines. `${…}` in them is left to the settings."""
    values: dict[str, str] = {}
    places: dict[str, Place] = {}
    problems: list[Problem] = []
    for binding in parse_stream(io.StringIO(text)):
        written = binding.original.string
        line = binding.original.line + written.count("\n", 0, len(written) - len(written.lstrip()))
        if binding.error or (binding.key is not None and binding.value is None):
            problems.append(Problem(Place(source, line), (), "write it as NAME=value"))
        elif binding.key is not None:
            values[binding.key] = binding.value or ""
            places[binding.key] = Place(source, line)
    return values, places, problems


def overlay(draft: Draft, environ: Mapping[str, str], places: Mapping[str, Place]) -> list[Problem]:
    """Put the settings of the environment over those of the file, in place."""
    problems: list[Problem] = []
    names = [name for name in environ if name.startswith(PREFIX) and name not in NOT_SETTINGS]
    for name in sorted(names, key=lambda name: (name.count("__"), name)):  # a group before what is inside it
        place = places.get(name, Place(name))
        path: Path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if complaint := _misplaced(name, path):
            problems.append(Problem(place, () if place.line == 0 else (name,), complaint))
        elif environ[name].strip():
            try:
                _put(draft, path, _value(environ[name], str(place)), place)
            except Malformed as fault:
                problems.append(Problem(place, path, fault.problem.message))
    return problems


def _misplaced(name: str, path: Path) -> str:
    """Why a variable is not a setting, or ""."""
    for length in range(1, len(path) + 1):
        around = spot(path[: length - 1])
        if around and around.is_list:
            whole = variable(path[: length - 1])
            return f"{dotted(path[: length - 1])} is a list: give all of it as YAML in {whole}"
        if spot(path[:length]) is None:
            return unknown(_meant(name, path))
    return ""


def _meant(name: str, path: Path) -> str:
    """The variable that an unknown one was probably meant to be, or ""."""
    if len(path) == 1 and (elsewhere := did_you_mean(path)):
        return variable(tuple(elsewhere.split(".")))
    variables = _variables(Spot(Settings), ()) | NOT_SETTINGS
    guess = nearest(name.removeprefix(PREFIX), (other.removeprefix(PREFIX) for other in variables))
    return f"{PREFIX}{guess}" if guess else ""


def variable(path: Path) -> str:
    """The name of the variable that gives a setting."""
    return PREFIX + "__".join(str(step) for step in path).upper()


def _variables(around: Spot, path: Path) -> set[str]:
    names = {variable(path)} if path else set()
    for name in around.group.model_fields if around.group else ():
        inner = around.inside(name)
        names |= _variables(inner, (*path, name)) if inner else set()
    return names


def _value(text: str, source: str) -> Any:
    """Lists, maps and null as YAML reads them; anything else as the text it is, which the settings convert.

    So a password of digits, or with a colon, needs no quotes. Raises Malformed.
    """
    if text.lstrip()[0] in "[{" or "\n" in text.strip():
        return parse_value(text, source)
    return None if text.strip() in ("null", "~") else text


def _put(draft: Draft, path: Path, value: Any, place: Place) -> None:
    around: Any = draft.values
    for step in path[:-1]:
        if around.get(step) is None:
            around[step] = {}
        around = around[step]
        if not isinstance(around, dict):
            return  # the file has something else there, which is reported as such
    around[path[-1]] = value
    for inner in [known for known in draft.places if known[: len(path)] == path]:
        del draft.places[inner]
    draft.places[path] = place
