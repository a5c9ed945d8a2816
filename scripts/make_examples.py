"""Write examples/boiler-manual.pdf, byte for byte the same each time; it needs no library."""

from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "examples" / "boiler-manual.pdf"

PAGES = [
    """\
# Hearthstone C24 condensing boiler
User manual, part no. 8840-EN

# 1 Safety
If you smell gas: open the windows, touch no electrical switch, close the gas
tap under the boiler and call the gas emergency service from outside.
Only a registered engineer may open the casing. Keep 30 cm free on both
sides of the boiler, and never cover its flue.

# 2 Switching on
Open the gas tap, check that the pressure gauge shows between 1.0 and 1.5 bar,
and press the power button for two seconds. The display shows the temperature
of the heating water. The boiler lights by itself when heat is wanted.""",
    """\
# 3 Topping up the water
When the gauge falls below 0.8 bar the boiler stops and shows F22. Let it cool
down, then open both valves of the filling loop until the gauge reads
1.2 bar, and close them again. If you must top up more than twice a year,
have the system checked for a leak.

# 4 Hot water
Set hot water to 50 C in a house with small children. Once a week the boiler
heats its store to 65 C against legionella; this takes about 40 minutes
and starts on Tuesday at 02:00.

# 5 Frost
Below 5 C the frost guard starts the pump, below 3 C also the burner. It works
only while power and gas are on. Drain the system if you leave both off.""",
    """\
# 6 Fault codes
F22 Water pressure too low. Top up, see chapter 3.
F28 No flame. Check the gas tap; press reset once, wait one minute.
F61 Flue blocked or fan faulty. Don't reset; call an engineer.
F75 Pressure sensor. Call an engineer.
After three resets within 15 minutes the boiler locks for one hour.

# 7 Service and warranty
The boiler needs a service every 12 months or 1,800 burner hours, whichever
comes first. The warranty runs for seven years when each service is noted
in the log on the back page, otherwise for two. The condensate trap is
cleaned at each service. Spare parts are kept for 15 years.""",
]


def build(pages: list[str]) -> bytes:
    """A PDF with one text block a page; lines that start with `#` are headings."""
    count = len(pages)
    kids = " ".join(f"{5 + 2 * index} 0 R" for index in range(count))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Lang (en) >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
    ]
    for index, text in enumerate(pages):
        content = _content(text)
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            b"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> "
            b"/Contents %d 0 R >>" % (6 + 2 * index),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        ]
    objects.append(b"<< /Title (Hearthstone C24 user manual) >>")
    return _file(objects)


def _content(text: str) -> bytes:
    lines = ["BT", "72 770 Td", "18 TL"]
    for line in text.splitlines():
        heading = line.startswith("# ")
        shown = line.removeprefix("# ").replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        lines += [f"/F2 15 Tf ({shown}) Tj T*" if heading else f"/F1 11 Tf ({shown}) Tj T*"]
    return "\n".join([*lines, "ET"]).encode("cp1252")


def _file(objects: list[bytes]) -> bytes:
    """Number the objects from 1 and append the table of their places; the last one is the document's info."""
    body = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"<< /Size %d /Root 1 0 R /Info %d 0 R >>" % (size, len(objects))
    xref = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n%s" % (size, table, trailer)
    return body + xref + b"\nstartxref\n%d\n%%%%EOF\n" % len(body)


if __name__ == "__main__":
    TARGET.write_bytes(build(PAGES))
