"""HTML as its reader sees it: text in blocks, without scripts, styles, navigation and what is hidden.

Parsed by lexbor (selectolax), which follows the HTML standard's rules for broken markup. Its time grows with
the square of the depth of nesting, so depth is checked first.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from casona.library.document import Document, Refused
from casona.library.language import language_of
from casona.library.loaders.characters import clean, decode, one_line
from casona.library.loaders.draft import Draft
from casona.library.loaders.html_walk import writing

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]{0,40})")
_MAX_DEPTH = 1000
_MANY_TAGS = 5000
_NEVER_CLOSED = "area base br col embed hr img input link meta param source track wbr"
_MAY_STAY_OPEN = "p li dt dd tr td th thead tbody tfoot option optgroup rt rp"
_UNNESTED = frozenset(f"{_NEVER_CLOSED} {_MAY_STAY_OPEN}".split())
"""Tags that say nothing about depth."""


def load(path: Path, max_pages: int) -> Document:
    """One page. Raises Refused for what is no markup, nested absurdly deep, or says nothing."""
    from selectolax.lexbor import LexborHTMLParser

    data = path.read_bytes()
    source = decode(data, declared=_declared(data))
    if not _TAG.search(source):
        raise Refused("its name says HTML, but there is no markup in it; give it its right extension")
    _refuse_deep(source)
    parser = LexborHTMLParser(source.replace("\0", ""))
    draft = Draft()
    if parser.root is not None:
        for kind, text, level in writing(parser.root):
            draft.add(kind, text, level=level)
    page = draft.page()
    if not page.text:
        raise Refused("it has no text of its own: it is empty, or made by scripts")
    title = _title(parser) or draft.first_heading()
    language = language_of(page.text) or _told_language(parser)
    return Document(title=title, media_type="text/html", language=language, pages=(page,))


def _declared(data: bytes) -> str:
    found = _CHARSET.search(data[:4096])
    return found[1].decode("ascii", "ignore") if found else ""


def _refuse_deep(source: str) -> None:
    if source.count("<") < _MANY_TAGS:
        return
    depth = 0
    for tag in _TAG.finditer(source):
        if tag[2].lower() not in _UNNESTED:
            depth = max(0, depth - 1) if tag[1] else depth + 1
            if depth > _MAX_DEPTH:
                raise Refused(f"it is broken: its elements are nested more than {_MAX_DEPTH} deep")


def _title(parser: "LexborHTMLParser") -> str:
    node = parser.css_first("head > title")
    return one_line(clean(node.text())) if node is not None else ""


def _told_language(parser: "LexborHTMLParser") -> str:
    node = parser.css_first("html[lang]")
    told = (node.attributes.get("lang") or "").split("-")[0].lower() if node is not None else ""
    return told if re.fullmatch("[a-z]{2}", told) else ""
