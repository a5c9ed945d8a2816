"""The settings of a house: `casona.yaml`, the `.env` beside it, and the environment over both.

Everything wrong is told at once, one line each: `FILE:LINE: SETTING: what to do`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr, ValidationError

from casona.configuration.check import check, unreachable
from casona.configuration.document import Malformed, parse
from casona.configuration.environment import overlay, read_dotenv
from casona.configuration.expand import expand
from casona.configuration.places import Draft, Place, Problem
from casona.configuration.wording import worded
from casona.exchange.errors import CasonaError
from casona.settings import Settings

MAX_FILE_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """`warnings` are lines like those of an error; `sources` the files and variables that said something."""

    settings: Settings
    warnings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class ConfigurationError(CasonaError):
    """`problems` holds one line each; `str(error)` all of them."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read(home: Path, environ: Mapping[str, str]) -> Configuration:
    """Read the settings of the house at `home`; without any file they are the defaults.

    `environ` is the process' environment, which wins over `.env`, which wins over `casona.yaml`.
    Raises ConfigurationError.
    """
    draft, problems = _from_file(home)
    dotenv, lines, unreadable = _from_dotenv(home)
    variables = {**dotenv, **environ}
    lines = {name: place for name, place in lines.items() if name not in environ}
    problems += [*unreadable, *overlay(draft, variables, lines)]
    settings, invalid = _validated(draft, variables, home)
    problems += invalid or (check(settings, draft) if settings else [])
    if problems or not settings:
        raise ConfigurationError(tuple(str(problem) for problem in sorted(problems, key=_order)))
    return Configuration(
        settings=_with_token(settings, variables),
        warnings=tuple(str(warning) for warning in sorted(unreachable(settings, draft), key=_order)),
        sources=tuple(dict.fromkeys(place.source for place in draft.places.values())),
    )


def _with_token(settings: Settings, variables: Mapping[str, str]) -> Settings:
    """HF_TOKEN, the name every tool of Hugging Face reads, where the settings hold no token."""
    token = variables.get("HF_TOKEN")
    if not token or settings.hubs.huggingface_token is not None:
        return settings
    hubs = settings.hubs.model_copy(update={"huggingface_token": SecretStr(token)})
    return settings.model_copy(update={"hubs": hubs})


def _validated(
    draft: Draft, variables: Mapping[str, str], home: Path
) -> tuple[Settings | None, list[Problem]]:
    values, unset = expand(draft, variables, home)
    untold = {problem.path for problem in unset}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as fault:
        return None, unset + [problem for problem in worded(fault, draft) if problem.path not in untold]
    return (None, unset) if unset else (_at_home(settings, home), [])


def _from_file(home: Path) -> tuple[Draft, list[Problem]]:
    path = home / "casona.yaml"
    if (slip := home / "casona.yml").exists() and not path.exists():
        raise ConfigurationError((f"{slip}: is not read; rename it to casona.yaml",))
    text = _text(path)
    if text is None:
        return Draft({}), []
    try:
        return parse(text, str(path))
    except Malformed as fault:
        raise ConfigurationError((str(fault),)) from fault


def _from_dotenv(home: Path) -> tuple[dict[str, str], dict[str, Place], list[Problem]]:
    path = home / ".env"
    text = _text(path)
    return ({}, {}, []) if text is None else read_dotenv(text, str(path))


def _text(path: Path) -> str | None:
    """The text of a file, None when there is none. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise ConfigurationError((f"{path}: cannot be read: {fault.strerror}",)) from fault
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError((f"{path}: is larger than {MAX_FILE_BYTES} bytes, too large for settings",))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise ConfigurationError((f"{path}:{line}: is not UTF-8; save the file as UTF-8",)) from fault


def _at_home(settings: Settings, home: Path) -> Settings:
    """The same settings with every relative path of a file meant from the home directory."""

    def whole(path: str) -> str:
        return str(home / Path(path).expanduser())

    nodes = tuple(
        node.model_copy(update={"ca_file": whole(node.ca_file)}) if node.ca_file else node
        for node in settings.nodes
    )
    engine = settings.engine.model_copy(update={"lora": tuple(whole(path) for path in settings.engine.lora)})
    if engine.program and "/" in engine.program:  # a bare name is looked for on PATH
        engine = engine.model_copy(update={"program": whole(engine.program)})
    return settings.model_copy(update={"nodes": nodes, "engine": engine})


def _order(problem: Problem) -> tuple[str, int, str]:
    return problem.place.source, problem.place.line, str(problem)
