"""The text of one Word paragraph: its runs, fields, formulas, and what is anchored in it."""

from collections.abc import Callable
from xml.etree.ElementTree import Element

from casona.library.loaders.docx_names import attribute, child, children, local

_LEFT_OUT = frozenset(
    (
        "pPr",
        "rPr",
        "del",
        "moveFrom",
        "instrText",
        "delText",
        "delInstrText",
        "sdtPr",
        "rt",
        "fldData",
        "sectPr",
    )
)
_MARKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": "\t"}


class TextOf:
    """`boxes` are the text boxes anchored here, `notes` the texts of its foot- and endnotes."""

    def __init__(self, paragraph: Element, notes: dict[tuple[str, str], str]) -> None:
        self.boxes: list[Element] = []
        self.notes: list[str] = []
        self._known_notes = notes
        self._pieces: list[str] = []
        self._read(paragraph)
        self.text = "".join(self._pieces)

    def _read(self, element: Element) -> None:
        for each in element:
            name = local(each)
            if name == "t":
                self._pieces.append(each.text or "")
            elif name in _MARKS:
                self._pieces.append(_MARKS[name])
            elif name == "txbxContent":
                self.boxes.append(each)
            elif name in ("footnoteReference", "endnoteReference"):
                self._note(name.removesuffix("Reference"), attribute(each, "id"))
            elif name == "AlternateContent":
                self._read_one_of(each)
            elif name == "oMath":
                self._pieces.append(formula(each))
            elif name not in _LEFT_OUT and not (name == "r" and _is_hidden(each)):
                self._read(each)

    def _read_one_of(self, element: Element) -> None:
        """The same thing in a new form and an old one: the first is enough."""
        chosen = child(element, "Choice")
        if chosen is None:
            chosen = child(element, "Fallback")
        if chosen is not None:
            self._read(chosen)

    def _note(self, kind: str, note_id: str) -> None:
        if text := self._known_notes.get((kind, note_id)):
            self.notes.append(text)


def _is_hidden(run: Element) -> bool:
    mark = child(run, "rPr", "vanish")
    return mark is not None and attribute(mark, "val") not in ("0", "false", "off")


def formula(element: Element) -> str:
    """Office Math on one line: `(a)/(b)`, `x^2`, `√(x)`."""
    shape = _SHAPES.get(local(element))
    if shape is not None:
        return shape(element)
    if local(element) == "t":
        return element.text or ""
    return "".join(formula(each) for each in element)


def _part(element: Element, name: str) -> str:
    found = child(element, name)
    return formula(found) if found is not None else ""


def _group(text: str) -> str:
    return text if len(text) <= 1 or text.isalnum() else f"({text})"


def _root(element: Element) -> str:
    return f"{_part(element, 'deg')}√({_part(element, 'e')})"


def _sum(element: Element) -> str:
    sign = child(element, "naryPr", "chr")
    low, high = _part(element, "sub"), _part(element, "sup")
    limits = (f"_{_group(low)}" if low else "") + (f"^{_group(high)}" if high else "")
    return f"{attribute(sign, 'val') if sign is not None else '∫'}{limits} {_part(element, 'e')}"


def _brackets(element: Element) -> str:
    begin, end = child(element, "dPr", "begChr"), child(element, "dPr", "endChr")
    inside = ", ".join(formula(each) for each in children(element, "e"))
    opening = attribute(begin, "val") if begin is not None else "("
    closing = attribute(end, "val") if end is not None else ")"
    return f"{opening}{inside}{closing}"


_SHAPES: dict[str, Callable[[Element], str]] = {
    "f": lambda e: f"{_group(_part(e, 'num'))}/{_group(_part(e, 'den'))}",
    "sSup": lambda e: f"{_part(e, 'e')}^{_group(_part(e, 'sup'))}",
    "sSub": lambda e: f"{_part(e, 'e')}_{_group(_part(e, 'sub'))}",
    "sSubSup": lambda e: f"{_part(e, 'e')}_{_group(_part(e, 'sub'))}^{_group(_part(e, 'sup'))}",
    "rad": _root,
    "nary": _sum,
    "d": _brackets,
    "func": lambda e: f"{_part(e, 'fName')} {_part(e, 'e')}",
    "limLow": lambda e: f"{_part(e, 'e')}_{_group(_part(e, 'lim'))}",
    "limUpp": lambda e: f"{_part(e, 'e')}^{_group(_part(e, 'lim'))}",
    "mr": lambda e: ", ".join(formula(each) for each in children(e, "e")) + "; ",
}
