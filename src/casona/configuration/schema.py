"""What may stand at a path: read from the settings' own models, so that it is written down once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from casona.configuration.places import Path, dotted
from casona.settings import Settings


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the tree of settings: what it holds, and the field that documents it."""

    annotation: Any
    field: FieldInfo | None = None

    @property
    def group(self) -> type[BaseModel] | None:
        is_group = isinstance(self.annotation, type) and issubclass(self.annotation, BaseModel)
        return self.annotation if is_group else None

    @property
    def is_map(self) -> bool:
        return get_origin(self.annotation) is dict

    @property
    def is_list(self) -> bool:
        return get_origin(self.annotation) is tuple

    def inside(self, step: str | int) -> "Spot | None":
        if self.group:
            field = self.group.model_fields.get(str(step))
            return Spot(_plain(field.annotation), field) if field else None
        arguments = get_args(self.annotation)
        if self.is_map or self.is_list:
            return Spot(_plain(arguments[1] if self.is_map else arguments[0]), self.field)
        return None


def spot(path: Path) -> Spot | None:
    """The spot a path leads to; None when no setting is there."""
    found: Spot | None = Spot(Settings)
    for step in path:
        found = found.inside(step) if found else None
    return found


def did_you_mean(path: Path) -> str:
    """The setting that an unknown path was probably meant to be, or ""."""
    around = spot(path[:-1])
    name = str(path[-1])
    if around and around.group and (near := nearest(name, around.group.model_fields)):
        return dotted((*path[:-1], near))
    others = list(_paths(Spot(Settings), ()))
    slip_of = nearest(name, (str(other[-1]) for other in others))
    elsewhere = [dotted(other) for other in others if other[-1] == slip_of]
    return elsewhere[0] if len(elsewhere) == 1 else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` is a slip of, or ""."""
    return next(iter(get_close_matches(name, list(names), n=1, cutoff=0.65)), "")


def _paths(around: Spot, path: Path) -> Iterator[Path]:
    """Every setting outside of lists and maps, whose entries have no fixed path."""
    for name in around.group.model_fields if around.group else ():
        yield (*path, name)
        inner = around.inside(name)
        if inner:
            yield from _paths(inner, (*path, name))


def _plain(annotation: Any) -> Any:
    """The type beneath `X | None` and `Annotated[X, ...]`."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (None, dict, tuple):
        return annotation
    others = [inner for inner in get_args(annotation) if inner is not NoneType]
    return _plain(others[0]) if len(others) == 1 else annotation
