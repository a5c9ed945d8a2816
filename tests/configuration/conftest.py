"""A house whose settings a test writes, and what reading them says, without the temporary folder's path."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from casona.configuration import Configuration, ConfigurationError, read


class Desk:
    def __init__(self, home: Path) -> None:
        self.home = home

    def write(self, text: str, name: str = "casona.yaml") -> None:
        (self.home / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def read(self, environ: Mapping[str, str] | None = None) -> Configuration:
        return read(self.home, environ or {})

    def problems(self, text: str = "", environ: Mapping[str, str] | None = None) -> list[str]:
        self.write(text)
        with pytest.raises(ConfigurationError) as caught:
            self.read(environ)
        return [problem.replace(f"{self.home}/", "") for problem in caught.value.problems]

    def warnings(self, text: str) -> list[str]:
        self.write(text)
        return [warning.replace(f"{self.home}/", "") for warning in self.read().warnings]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
