"""Markdown: kept as it is written; its headings, lists, tables and fences are noted.

A line scanner after CommonMark's block rules, not a renderer: offsets must point into the file's own text,
and a renderer gives them away. Source: https://spec.commonmark.org/0.31.2/.
"""

import re
from pathlib import Path

from casona.library.document import Block, Document, Kind, Page
from casona.library.language import language_of
from casona.library.loaders.characters import one_line
from casona.library.loaders.text import lines, read_text

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_ATX_END = re.compile(r"(?:^|[ \t])#+[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_LINK = re.compile(r"!?\[([^\[\]]{0,500})\](?:\([^()\s]{0,2000}\)|\[[^\[\]]{0,200}\])")
_MARKUP = re.compile(r"[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}|<[^<>]{1,200}>")
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.M)


def load(path: Path, max_pages: int) -> Document:
    """One page. Raises Refused for what is not text or says nothing."""
    text = read_text(path)
    scanner = _Scanner(text)
    blocks = scanner.scan()
    title = scanner.front_title or next((block.title for block in blocks if block.kind == "heading"), "")
    page = Page(number=1, text=text, blocks=blocks)
    return Document(title=title, media_type="text/markdown", language=language_of(text), pages=(page,))


class _Scanner:
    """Goes through the lines once; the part being gathered is [start, end) and of `kind`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.front_title = ""
        self._blocks: list[Block] = []
        self._kind: Kind | None = None
        self._start = self._end = 0
        self._fence = ""

    def scan(self) -> tuple[Block, ...]:
        front_end = self._front_matter()
        for start, line in lines(self.text):
            if start >= front_end:
                self._line(start, line)
        self._close()
        return tuple(self._blocks)

    def _front_matter(self) -> int:
        """A block of YAML between `---` lines at the top; gives where it ends."""
        if not self.text.startswith("---\n"):
            return 0
        end = self.text.find("\n---\n", 3, 65_536)
        if end < 0:
            return 0
        if found := _FRONT_TITLE.search(self.text, 0, end):
            self.front_title = one_line(found[1].strip("\"' "))
        self._blocks.append(Block(kind="code", start=0, end=end + 4))
        return end + 5

    def _line(self, start: int, line: str) -> None:
        if self._fence:
            self._grow("code", start, line)
            if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
                self._fence = ""
                self._close()
        elif not line.strip():
            self._close()
        elif found := _FENCE.match(line):
            self._close()
            self._fence = found[1]
            self._grow("code", start, line)
        elif found := _ATX.match(line):
            self._close()
            self._heading(start, start + len(line), len(found[1]), _ATX_END.sub("", line[found.end() :]))
        else:
            self._prose(start, line)

    def _prose(self, start: int, line: str) -> None:
        if self._kind == "paragraph" and (found := _SETEXT.match(line)) and self._end - self._start <= 300:
            level, title = (1 if found[1][0] == "=" else 2), self.text[self._start : self._end]
            opened, self._kind = self._start, None
            self._heading(opened, start + len(line), level, title)
        elif _RULE.match(line):
            self._close()
            self._grow("paragraph", start, line)
            self._close()
        elif _ITEM.match(line):
            self._close()
            self._grow("item", start, line)
        elif line.lstrip().startswith("|"):
            if self._kind != "table":
                self._close()
            self._grow("table", start, line)
        else:
            if self._kind == "table":
                self._close()
            self._grow(self._kind or "paragraph", start, line)

    def _heading(self, start: int, end: int, level: int, title: str) -> None:
        plain = one_line(_MARKUP.sub("", _LINK.sub(r"\1", title)))
        if plain:
            self._blocks.append(Block(kind="heading", start=start, end=end, level=level, title=plain))
        else:
            self._blocks.append(Block(kind="paragraph", start=start, end=end))

    def _grow(self, kind: Kind, start: int, line: str) -> None:
        if self._kind is None:
            self._kind, self._start = kind, start
        self._end = start + len(line)

    def _close(self) -> None:
        if self._kind is not None:
            self._blocks.append(Block(kind=self._kind, start=self._start, end=self._end))
        self._kind = None
