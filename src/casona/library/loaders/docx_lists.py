"""The labels of Word's lists: they are not in the text, Word counts them out when it shows it.

Source: ECMA-376 part 1, 17.9 (numbering).
"""

import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from casona.library.loaders.docx_names import attribute, child, children, local

_PLACE = re.compile(r"%([1-9])")
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"),
    (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_LEVELS = 9
_MOST_COUNTED = 100_000


@dataclass(slots=True)
class _Level:
    start: int = 1
    form: str = "decimal"
    pattern: str = ""


@dataclass(slots=True)
class _List:
    """One numbered list: `abstract` shares its counters, `levels` are by depth."""

    abstract: str
    levels: dict[int, _Level] = field(default_factory=dict)


class Lists:
    """Counts the items of all lists as they come by."""

    def __init__(self, numbering: Element | None) -> None:
        self._lists: dict[str, _List] = {}
        self._counters: dict[str, list[int | None]] = {}
        self._restarted: set[str] = set()
        if numbering is not None:
            self._read(numbering)

    def label(self, number_id: str, level: int) -> str:
        """The label of the next item: "2.1.", "b)", or "-" for bullets; "" for none."""
        found = self._lists.get(number_id)
        if found is None or not 0 <= level < _LEVELS:
            return ""
        if (rules := found.levels.get(level)) is None:
            return "-"
        counters = self._count(number_id, found, level, rules.start)
        if rules.form == "bullet":
            return "-"
        return "" if rules.form == "none" else self._shown(found, rules.pattern, counters)

    def _count(self, number_id: str, found: _List, level: int, start: int) -> list[int | None]:
        counters = self._counters.setdefault(found.abstract, [None] * _LEVELS)
        overridden = f"{number_id}:{level}"
        if overridden in self._restarted:
            self._restarted.discard(overridden)
            counters[level] = None
        current = counters[level]
        counters[level] = start if current is None else min(current + 1, _MOST_COUNTED)
        counters[level + 1 :] = [None] * (_LEVELS - level - 1)
        return counters

    def _shown(self, found: _List, pattern: str, counters: list[int | None]) -> str:
        def number(match: re.Match[str]) -> str:
            place = int(match[1]) - 1
            rules = found.levels.get(place, _Level())
            count = counters[place]
            return _written(rules.start if count is None else count, rules.form)

        return _PLACE.sub(number, pattern)

    def _read(self, numbering: Element) -> None:
        abstracts = {
            attribute(each, "abstractNumId"): _levels(each) for each in children(numbering, "abstractNum")
        }
        for each in children(numbering, "num"):
            target = child(each, "abstractNumId")
            abstract = attribute(target, "val") if target is not None else ""
            number_id = attribute(each, "numId")
            levels = dict(abstracts.get(abstract, {}))
            for change in children(each, "lvlOverride"):
                self._override(number_id, change, levels)
            self._lists[number_id] = _List(abstract, levels)

    def _override(self, number_id: str, change: Element, levels: dict[int, _Level]) -> None:
        depth = _integer(attribute(change, "ilvl"))
        if (own := child(change, "lvl")) is not None:
            levels[depth] = _level(own)
        if (start := child(change, "startOverride")) is not None:
            known = levels.get(depth, _Level())
            levels[depth] = _Level(_integer(attribute(start, "val"), 1), known.form, known.pattern)
            self._restarted.add(f"{number_id}:{depth}")


def _levels(abstract: Element) -> dict[int, _Level]:
    return {_integer(attribute(each, "ilvl")): _level(each) for each in children(abstract, "lvl")}


def _level(element: Element) -> _Level:
    values = {local(each): attribute(each, "val") for each in element}
    return _Level(
        start=_integer(values.get("start", ""), 1),
        form=values.get("numFmt", "decimal"),
        pattern=values.get("lvlText", ""),
    )


def _integer(text: str, default: int = 0) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else default


def _written(count: int, form: str) -> str:
    match form:
        case "lowerLetter":
            return _letters(count)
        case "upperLetter":
            return _letters(count).upper()
        case "lowerRoman":
            return _roman(count)
        case "upperRoman":
            return _roman(count).upper()
        case "decimalZero":
            return f"{count:02}"
        case _:
            return str(count)


def _letters(count: int) -> str:
    """a … z, aa, bb …, as Word goes on."""
    return chr(ord("a") + (count - 1) % 26) * min((count - 1) // 26 + 1, 4) if count > 0 else str(count)


def _roman(count: int) -> str:
    if not 0 < count < 4000:
        return str(count)
    written = ""
    for value, letters in _ROMAN:
        written += letters * (count // value)
        count %= value
    return written
