"""From a tree of HTML elements to the parts of a page, in reading order."""

import re
from typing import TYPE_CHECKING

from casona.library.document import Kind
from casona.library.loaders.characters import one_line

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

Part = tuple[Kind, str, int]
"""What it is, its text, and a heading's level."""

_LEFT_OUT = """
head script style noscript template nav svg iframe object embed canvas audio video map dialog select datalist
button input textarea rp rt
"""
_DROPPED = frozenset(_LEFT_OUT.split())
_SET_APART = """
html body p div section article main header footer aside address hgroup blockquote figure figcaption ul ol
menu dl dt dd li hr form fieldset legend details summary table caption tr td th thead tbody tfoot center pre
search h1 h2 h3 h4 h5 h6
"""
_BLOCKS = frozenset(_SET_APART.split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = frozenset(("ul", "ol", "menu"))
_IN_LAYOUT = "h1, h2, h3, h4, h5, h6, pre, table"
_MOST_CELL_CHARS = 1500
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_SPACE = re.compile(r"\s+")


def writing(root: "LexborNode") -> list[Part]:
    """The parts under `root`. Walks without recursion, so depth costs nothing."""
    writer = _Writer()
    above: list[LexborNode] = []
    node = root
    while True:
        if writer.enter(node) and (first := node.child) is not None:
            above.append(node)
            node = first
            continue
        writer.leave(node)
        while above and node.next is None:
            node = above.pop()
            writer.leave(node)
        if not above or node.next is None:
            return writer.parts
        node = node.next


class _Writer:
    """Gathers inline text; the start and the end of a block make a part of it."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._pieces: list[str] = []
        self._level = 0
        self._label = ""
        self._lists: list[int | None] = []  # the last number given in each open list, None for bullets

    def enter(self, node: "LexborNode") -> bool:
        """Begin an element; gives whether to go on to what is inside."""
        tag = node.tag or ""
        if tag == "-text":
            self._pieces.append(_SPACE.sub(" ", node.text_content or ""))
        elif tag == "br":
            self._pieces.append("\n")
        elif tag == "img":
            self._pieces.append(f" {node.attributes.get('alt') or ''} ")
        elif tag in _BLOCKS:
            return not _is_hidden(node) and self._enter_block(tag, node)
        else:
            return not (tag.startswith("-") or tag in _DROPPED or _is_hidden(node))
        return False

    def leave(self, node: "LexborNode") -> None:
        tag = node.tag or ""
        if tag not in _BLOCKS:
            return
        self._flush()
        if tag in _LISTS and self._lists:
            self._lists.pop()
        if tag in _HEADINGS:
            self._level = 0

    def _enter_block(self, tag: str, node: "LexborNode") -> bool:
        self._flush()
        if tag in _HEADINGS:
            self._level = _HEADINGS[tag]
        elif tag in _LISTS:
            self._lists.append(_start(node) if tag == "ol" else None)
        elif tag == "li":
            self._label = self._next_label()
        elif tag == "pre":
            self.parts.append(("code", node.text(deep=True), 0))
            return False
        elif tag == "table" and (rows := _data_rows(node)):
            self.parts.append(("table", "\n".join(rows), 0))
            return False
        return True

    def _next_label(self) -> str:
        if not self._lists or self._lists[-1] is None:
            return "- "
        self._lists[-1] += 1
        return f"{self._lists[-1]}. "

    def _flush(self) -> None:
        text = "\n".join(map(one_line, "".join(self._pieces).split("\n"))).strip()
        self._pieces.clear()
        if not text:
            return
        if self._level:
            self.parts.append(("heading", text, self._level))
        elif self._lists or self._label:
            self.parts.append(("item", self._label + text, 0))
        else:
            self.parts.append(("paragraph", text, 0))
        self._label = ""


def _is_hidden(node: "LexborNode") -> bool:
    attributes = node.attributes
    if not attributes:
        return False
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") == "navigation"
        or bool(_HIDDEN_STYLE.search(attributes.get("style") or ""))
    )


def _start(node: "LexborNode") -> int:
    told = node.attributes.get("start") or ""
    return int(told) - 1 if re.fullmatch(r"-?\d{1,6}", told) else 0


def _data_rows(table: "LexborNode") -> list[str]:
    """Rows of `a | b`, the caption before them; none for a table that lays out a page."""
    if any(node.mem_id != table.mem_id for node in table.css(_IN_LAYOUT)):
        return []
    rows = [[_cell(cell) for cell in row.css("td, th")] for row in table.css("tr") if not _is_hidden(row)]
    texts = [text for row in rows for text in row]
    if all(len(row) <= 1 for row in rows) or max(map(len, texts)) > _MOST_CELL_CHARS:
        return []
    caption = table.css_first("caption")
    head = [_cell(caption)] if caption is not None else []
    return [line for line in (*head, *map(" | ".join, rows)) if line.strip(" |")]


def _cell(node: "LexborNode") -> str:
    return one_line(" ".join(text for _, text, _ in writing(node)))
