"""Writes small PDFs with real text, for what no sample file shows."""

from pathlib import Path

Line = tuple[str, float, float, float, str]
"""text, x, y, size in points, font ("F1" regular, "F2" bold)"""


def pdf(
    path: Path, pages: list[list[Line]], *, title: str = "", bookmarks: list[tuple[str, int]] | None = None
) -> Path:
    """`bookmarks` are (title, page from 0)."""
    objects: dict[int, str] = {
        3: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        4: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
        5: f"<< /Title ({title}) >>",
    }
    kids = []
    for lines in pages:
        number = max(objects) + 1
        drawn = "\n".join(
            f"BT /{font} {size} Tf {x} {y} Td ({text}) Tj ET" for text, x, y, size, font in lines
        )
        objects[number] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
        )
        objects[number + 1] = f"<< /Length {len(drawn.encode('cp1252'))} >>\nstream\n{drawn}\nendstream"
        kids.append(number)
    objects[2] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] >>"
    outlines = _outlines(objects, bookmarks or [], kids)
    objects[1] = f"<< /Type /Catalog /Pages 2 0 R {outlines} >>"
    path.write_bytes(_file(objects))
    return path


def _outlines(objects: dict[int, str], bookmarks: list[tuple[str, int]], kids: list[int]) -> str:
    if not bookmarks:
        return ""
    root = max(objects) + 1
    last = root + len(bookmarks)
    objects[root] = f"<< /First {root + 1} 0 R /Last {last} 0 R /Count {len(bookmarks)} >>"
    for number, (title, page) in enumerate(bookmarks, root + 1):
        following = f"/Next {number + 1} 0 R" if number < last else ""
        target = f"/Dest [{kids[page]} 0 R /Fit]"
        objects[number] = f"<< /Title ({title}) /Parent {root} 0 R {target} {following} >>"
    return f"/Outlines {root} 0 R"


def _file(objects: dict[int, str]) -> bytes:
    data = b"%PDF-1.7\n"
    offsets = {}
    for number in sorted(objects):
        offsets[number] = len(data)
        data += f"{number} 0 obj\n{objects[number]}\nendobj\n".encode("cp1252")
    table = "".join(f"{offsets[number]:010} 00000 n \n" for number in sorted(objects))
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    tail = f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + head.encode() + tail.encode()
