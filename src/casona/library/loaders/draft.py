"""A page while it is being written: text is added part by part, and each part's place is noted."""

from casona.library.document import MAX_CHARS, Block, Kind, Page, Refused
from casona.library.loaders.characters import clean, one_line

MAX_LEVEL = 9


class Draft:
    """Parts are set apart by an empty line, the items of a list and lines of code by a line end."""

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.length = 0
        self._pieces: list[str] = []
        self._blocks: list[Block] = []

    def add(self, kind: Kind, text: str, *, level: int = 0) -> None:
        """Append a part; what holds no visible character is left out. Raises Refused at MAX_CHARS."""
        text = clean(text)
        text = text.strip("\n").rstrip() if kind == "code" else text.strip()
        if not text:
            return
        self._write(self._gap_before(kind))
        start = self.length
        self._write(text)
        heading = {"level": min(level, MAX_LEVEL), "title": one_line(text)} if kind == "heading" else {}
        self._blocks.append(Block(kind=kind, start=start, end=self.length, **heading))  # type: ignore[arg-type]

    def page(self) -> Page:
        return Page(number=self.number, text="".join(self._pieces), blocks=tuple(self._blocks))

    def first_heading(self) -> str:
        return next((block.title for block in self._blocks if block.kind == "heading"), "")

    def _gap_before(self, kind: Kind) -> str:
        if not self._blocks:
            return ""
        return "\n" if kind in ("item", "code") and kind == self._blocks[-1].kind else "\n\n"

    def _write(self, piece: str) -> None:
        self._pieces.append(piece)
        self.length += len(piece)
        refuse_too_long(self.length)


def refuse_too_long(chars: int) -> None:
    if chars > MAX_CHARS:
        raise Refused(f"it holds more than {MAX_CHARS:,} characters of text; split it into several documents")
