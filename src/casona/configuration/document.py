"""The YAML text of `casona.yaml` as plain values, each with the line it stands on."""

from typing import Any

import yaml

from casona.configuration.places import Draft, Path, Place, Problem

MAX_VALUES = 20_000  # a nest of aliases can stand for billions


class Malformed(ValueError):
    """The text has no settings to speak of."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.problem = Problem(place, (), message)


def parse(text: str, source: str) -> tuple[Draft, list[Problem]]:
    """Read a file of settings; what leaves the rest readable, such as a key given twice, comes beside it.

    Raises Malformed for what is not YAML or not a map.
    """
    values, reading = _read(text, source)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        kind = "list" if isinstance(values, list) else "single value"
        raise Malformed(
            Place(source, 1), f"must be a map of settings such as `server: {{port: 8080}}`, is a {kind}"
        )
    return Draft(values, reading.places), reading.problems


def parse_value(text: str, source: str) -> Any:
    """Read one value. Raises Malformed."""
    value, reading = _read(text, source)
    if reading.problems:
        raise Malformed(reading.problems[0].place, f"{reading.problems[0].path[-1]} is given twice; keep one")
    return value


def _read(text: str, source: str) -> "tuple[Any, _Reading]":
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        reading = _Reading(loader, source)
        return None if root is None else reading.value(root, ()), reading
    except yaml.MarkedYAMLError as fault:
        raise Malformed(_place(source, fault.problem_mark), _sentence(fault)) from fault
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        message = f"this is not YAML: a character that is not text (U+{fault.character:04X})"
        raise Malformed(Place(source, line), message) from fault
    except RecursionError as fault:
        raise Malformed(Place(source), "this is nested too deeply") from fault


class _Reading:
    """One walk over the nodes that PyYAML composed."""

    def __init__(self, loader: yaml.SafeLoader, source: str) -> None:
        self.loader = loader
        self.source = source
        self.places: dict[Path, Place] = {(): Place(source, 1)}
        self.problems: list[Problem] = []
        self.around: list[yaml.Node] = []
        self.seen = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.seen += 1
        if node in self.around or self.seen > MAX_VALUES:
            raise Malformed(_place(self.source, node.start_mark), "an alias that repeats itself without end")
        self.around.append(node)
        try:
            match node:
                case yaml.MappingNode():
                    return self.map(node, path)
                case yaml.SequenceNode():
                    return [self.item(inner, (*path, index)) for index, inner in enumerate(node.value)]
                case _:
                    return self.scalar(node)
        finally:
            self.around.pop()

    def item(self, node: yaml.Node, path: Path) -> Any:
        self.places[path] = _place(self.source, node.start_mark)
        return self.value(node, path)

    def map(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self.note_doubles(node, path)
        self.loader.flatten_mapping(node)  # `<<`: merged pairs come first, so a map's own pairs win
        values: dict[str, Any] = {}
        for key_node, inner in node.value:
            key = self.key(key_node)
            self.places[*path, key] = _place(self.source, key_node.start_mark)
            values[key] = self.value(inner, (*path, key))
        return values

    def note_doubles(self, node: yaml.MappingNode, path: Path) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            key = self.key(key_node)
            if key in first:
                place = _place(self.source, key_node.start_mark)
                message = f"given twice, the first time in line {first[key]}; keep one"
                self.problems.append(Problem(place, (*path, key), message))
            first.setdefault(key, key_node.start_mark.line + 1)

    def key(self, node: yaml.Node) -> str:
        """Keys are names, so `8b:` and `on:` are the texts they look like, not a number or a truth."""
        if not isinstance(node, yaml.ScalarNode):
            raise Malformed(_place(self.source, node.start_mark), "a key must be a name, not a list or map")
        return str(node.value)

    def scalar(self, node: yaml.Node) -> Any:
        if node.tag == "tag:yaml.org,2002:timestamp":  # no setting is a date; a text may look like one
            return node.value
        try:
            return self.loader.construct_object(node)
        except ValueError as fault:
            raise Malformed(_place(self.source, node.start_mark), f"cannot be read: {fault}") from fault


def _place(source: str, mark: Any) -> Place:
    return Place(source, mark.line + 1) if mark else Place(source)


def _sentence(fault: yaml.MarkedYAMLError) -> str:
    column = f" at column {fault.problem_mark.column + 1}" if fault.problem_mark else ""
    context = f", {fault.context}" if fault.context else ""
    return f"this is not YAML{column}: {fault.problem}{context}"
