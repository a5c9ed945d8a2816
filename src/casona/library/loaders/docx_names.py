"""Elements of WordprocessingML by their local names.

The strict and the transitional form of the standard differ, for us, in nothing but the namespace.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element


def local(element: Element) -> str:
    """The element's name without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Element, name: str) -> str:
    """The attribute of that local name, or ""."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return value
    return ""


def children(element: Element, name: str) -> Iterator[Element]:
    return (each for each in element if local(each) == name)


def child(element: Element, *path: str) -> Element | None:
    """The first child of that name, or its first child …; None where the path ends early."""
    found: Element | None = element
    for name in path:
        found = next(children(found, name), None) if found is not None else None
    return found
