"""Bytes to text, and text to the one form in which it is stored.

Stored text is what citations point into, so this is decided once for all formats:
line ends are `\\n`; tabs and no-break spaces stay what they are to a reader, white space; control
characters, NULs, soft hyphens, zero-width spaces and byte-order marks are gone; the Latin ligatures are
letters again; lone surrogates and non-characters are U+FFFD; all of it is Unicode NFC.
"""

import codecs
import re
import unicodedata

from casona.library.document import Refused

_LINE_END = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_ODD = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\xa0\xad\u200b\u2060\ufb00-\ufb06\ufdd0-\ufdef\ufeff\ufffe\uffff\ud800-\udfff]"
)
_LIGATURES = dict(
    zip(
        "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06",
        ("ff", "fi", "fl", "ffi", "ffl", "st", "st"),
        strict=True,
    )
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def clean(text: str) -> str:
    """The text in its stored form. Idempotent."""
    text = _LINE_END.sub("\n", text)
    text = _ODD.sub(_replaced, text)
    return unicodedata.normalize("NFC", text)


def one_line(text: str) -> str:
    """Runs of white space become one space."""
    return " ".join(text.split())


def _replaced(match: re.Match[str]) -> str:
    character = match[0]
    if character in _LIGATURES:
        return _LIGATURES[character]
    if character == "\xa0":
        return " "
    if character >= "\ud800" and character not in "\ufeff":
        return "\ufffd"
    return ""


def decode(data: bytes, *, declared: str = "") -> str:
    """Text from bytes: a byte-order mark decides, then UTF-8 if valid, then `declared`, then Windows-1252.

    UTF-8 comes before what a file declares, since a wrong declaration is common and text that is not UTF-8
    is almost never valid as such. Raises Refused for what is not text.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace")
    if b"\0" in data:
        return _without_bom(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and not data[: error.start].isascii():
            return data.decode("utf-8", "replace")  # UTF-8 cut in its last character
    if _is_text_encoding(declared):
        return data.decode(declared, "replace")
    _refuse_binary(data)
    return data.decode("cp1252", "replace")


def _without_bom(data: bytes) -> str:
    """UTF-16 without its mark has a NUL in nearly every other byte; anything else with NULs is no text."""
    sample = data[:4096]
    for parity, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = sample[parity::2].count(0), sample[1 - parity :: 2].count(0)
        if others == 0 and zeros > 0.7 * (len(sample) // 2):
            return data.decode(encoding, "replace")
    raise Refused("it is not text: it has NUL bytes in it; save it as UTF-8 text")


def _is_text_encoding(name: str) -> bool:
    try:
        return bool(name) and codecs.lookup(name)._is_text_encoding
    except LookupError:
        return False


def _refuse_binary(data: bytes) -> None:
    sample = data[:65_536]
    controls = sum(sample.count(code) for code in range(32) if code not in (9, 10, 12, 13, 27))
    if controls > 0.01 * len(sample):
        raise Refused("it is not text: it has control characters in it; save it as UTF-8 text")
