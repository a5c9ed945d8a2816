"""Where each setting was said, so that a complaint can name the file and the line."""

from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file, or a variable of the environment (then `line` is 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the setting at `path`, and what to do about it."""

    place: Place
    path: Path
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), dotted(self.path), self.message) if part)


@dataclass(slots=True)
class Draft:
    """Settings as they were written: plain values, and the place of each by its path."""

    values: dict[str, Any]
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """The place of a setting, or of the nearest one around it that was written."""
        around = (path[:length] for length in range(len(path), -1, -1))
        return next((self.places[outer] for outer in around if outer in self.places), Place("built-in"))

    def problem(self, path: Path, message: str) -> Problem:
        return Problem(self.place(path), path, message)


def dotted(path: Path) -> str:
    """`nodes[0].url`, as a person writes it."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
