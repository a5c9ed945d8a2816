"""What Word's paragraph styles say of a paragraph: is it a heading, of a list, or code?"""

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from casona.library.loaders.docx_names import attribute, child, children

_HEADING = re.compile(r"(?:heading|titre|überschrift|título|titolo|kop|rubrik|nagłówek)\s*([1-9])", re.I)
_CODE_NAMES = frozenset(
    (
        "code",
        "code block",
        "source code",
        "html preformatted",
        "plain text",
        "macro text",
        "preformatted text",
    )
)
_MOST_ANCESTORS = 12
_DEPTHS = frozenset("012345678")


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """`level` is 0 for what is no heading; `numbering` is (list's id or "", depth)."""

    level: int = 0
    is_title: bool = False
    is_code: bool = False
    numbering: tuple[str, int] = ("", 0)


PLAIN = Style()


def read_styles(root: Element | None) -> dict[str, Style]:
    """Style id -> style, inheritance resolved."""
    if root is None:
        return {}
    elements = {attribute(each, "styleId"): each for each in children(root, "style")}
    return {name: _style(name, elements) for name in elements}


def _style(name: str, elements: dict[str, Element]) -> Style:
    level, number_id, depth, is_code, is_title = 0, "", -1, False, False
    for element in _ancestry(name, elements):
        told = child(element, "name")
        called = attribute(told, "val").lower() if told is not None else ""
        level = level or outline_level(child(element, "pPr")) or _level_by_name(called)
        own_id, own_depth = numbering(child(element, "pPr"))
        number_id = number_id or own_id
        depth = depth if depth >= 0 else own_depth
        is_code = is_code or called in _CODE_NAMES
        is_title = is_title or called == "title"
    return Style(level=level, is_title=is_title, is_code=is_code, numbering=(number_id, max(depth, 0)))


def _ancestry(name: str, elements: dict[str, Element]) -> list[Element]:
    found: list[Element] = []
    while (
        (element := elements.get(name)) is not None and element not in found and len(found) < _MOST_ANCESTORS
    ):
        found.append(element)
        based = child(element, "basedOn")
        name = attribute(based, "val") if based is not None else ""
    return found


def _level_by_name(called: str) -> int:
    found = _HEADING.match(called)
    return int(found[1]) if found else 0


def outline_level(properties: Element | None) -> int:
    """1 to 9 for headings, 0 for body text."""
    element = child(properties, "outlineLvl") if properties is not None else None
    told = attribute(element, "val") if element is not None else ""
    return int(told) + 1 if told in _DEPTHS else 0


def numbering(properties: Element | None) -> tuple[str, int]:
    """(list's id, depth); the depth is -1 where none is told. The id "0" means no list."""
    element = child(properties, "numPr") if properties is not None else None
    if element is None:
        return "", -1
    number_id, depth = child(element, "numId"), child(element, "ilvl")
    told = attribute(depth, "val") if depth is not None else ""
    own_id = attribute(number_id, "val") if number_id is not None else ""
    return own_id, int(told) if told in _DEPTHS else -1
