"""Which paragraphs of a typeset document are headings: what the bookmarks name, else what the type tells."""

from collections import Counter
from dataclasses import dataclass

from casona.library.document import Block, Page
from casona.library.loaders.characters import one_line
from casona.library.loaders.typeset import Paragraph, Typeset

_LARGER = 1.12
_ITEM_LARGER = 1.25
_LONGEST_HEADING = 160
_MOST_LEVELS = 4
_MOST_REPEATS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """`page` counts from 1, `level` from 1."""

    title: str
    level: int
    page: int


Headings = dict[tuple[int, int], int]
"""(page number, paragraph's index) -> level"""


def with_headings(pages: list[Typeset], bookmarks: list[Bookmark]) -> tuple[Page, ...]:
    """Bookmarks are the author's own headings, so where there are some, type is not asked."""
    if bookmarks:
        headings, unfound = _from_bookmarks(pages, bookmarks)
    else:
        headings, unfound = _from_type(pages), {}
    return tuple(_page(page, headings, unfound.get(page.number, [])) for page in pages)


def _page(page: Typeset, headings: Headings, unfound: list[Bookmark]) -> Page:
    blocks = [Block(kind="heading", start=0, end=0, level=each.level, title=each.title) for each in unfound]
    for index, part in enumerate(page.paragraphs):
        level = headings.get((page.number, index))
        if level is not None:
            title = one_line(page.text[part.start : part.end])
            blocks.append(Block(kind="heading", start=part.start, end=part.end, level=level, title=title))
        else:
            blocks.append(Block(kind="item" if part.is_item else "paragraph", start=part.start, end=part.end))
    return Page(number=page.number, text=page.text, blocks=tuple(blocks))


def _from_bookmarks(
    pages: list[Typeset], bookmarks: list[Bookmark]
) -> tuple[Headings, dict[int, list[Bookmark]]]:
    """The headings found on their pages, and by page the bookmarks whose words are not there."""
    headings: Headings = {}
    unfound: dict[int, list[Bookmark]] = {}
    wanted: dict[int, list[Bookmark]] = {}
    for bookmark in bookmarks:
        wanted.setdefault(bookmark.page, []).append(bookmark)
    for page in pages:
        keys = _keys(page) if page.number in wanted else {}
        for bookmark in wanted.get(page.number, ()):
            index = keys.get(_key(bookmark.title))
            if index is None:
                unfound.setdefault(page.number, []).append(bookmark)
            else:
                headings[page.number, index] = bookmark.level
    return headings, unfound


def _keys(page: Typeset) -> dict[str, int]:
    """The short paragraphs of a page, by their letters, with and without the number before them."""
    keys: dict[str, int] = {}
    for index, part in enumerate(page.paragraphs):
        if part.end - part.start <= _LONGEST_HEADING:
            text = page.text[part.start : part.end]
            keys.setdefault(_key(text), index)
            keys.setdefault(_key(text.lstrip("0123456789. ")), index)
    return keys


def _key(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _from_type(pages: list[Typeset]) -> Headings:
    """Short lines set larger than the body, or bold at its size. The larger, the wider the heading."""
    body = _body_size(pages)
    found: dict[tuple[int, int], float] = {}
    texts: Counter[str] = Counter()
    for page in pages:
        for index, part in enumerate(page.paragraphs):
            text = page.text[part.start : part.end]
            if _stands_out(part, text, body):
                found[page.number, index] = round(part.size, 1) if part.size > _LARGER * body else 0.0
                texts[_key(text)] += 1
    running = {text for text, count in texts.items() if count > max(_MOST_REPEATS, len(pages) // 4)}
    sizes = sorted({size for size in found.values()}, reverse=True)
    levels = {size: min(rank, _MOST_LEVELS) for rank, size in enumerate(sizes, 1)}
    texts_of = {page.number: page for page in pages}
    return {
        (number, index): levels[size]
        for (number, index), size in found.items()
        if _key(_text_at(texts_of[number], index)) not in running
    }


def _text_at(page: Typeset, index: int) -> str:
    return page.text[page.paragraphs[index].start : page.paragraphs[index].end]


def _stands_out(part: Paragraph, text: str, body: float) -> bool:
    if part.lines > 3 or len(text) > _LONGEST_HEADING or not body:
        return False
    if sum(map(str.isalpha, text)) < max(3, len(text) // 3):
        return False
    if part.size > (_ITEM_LARGER if part.is_item else _LARGER) * body:
        return True
    return (
        not part.is_item
        and part.bold
        and part.lines == 1
        and len(text) <= 100
        and part.size > 0.95 * body
        and text[-1] not in ".,;:"
    )


def _body_size(pages: list[Typeset]) -> float:
    """The size that most characters are set in."""
    chars: Counter[float] = Counter()
    for page in pages:
        for part in page.paragraphs:
            chars[round(part.size, 1)] += part.end - part.start
    return chars.most_common(1)[0][0] if chars else 0.0
