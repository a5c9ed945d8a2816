"""The JSON of a request body: read once, its depth bounded, its errors naming the field.

msgspec's structs skip unknown fields silently and its `Raw` does not look inside strings, so
what they leave unchecked (encoding, surrogates, depth) is checked here, cheaply.
"""

import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from casona.exchange.errors import BadRequest

MAX_DEPTH = 100

T = TypeVar("T")
Fields = dict[str, msgspec.Raw]

_fields = msgspec.json.Decoder(Fields)
_brackets = bytes(set(range(256)) - set(b'[]{}"'))
_path = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")


def fields(raw: bytes) -> Fields:
    """The top-level object, its values still as bytes; of doubled keys the last one stays.

    Raises BadRequest when `raw` is not one JSON object in UTF-8, nests more than MAX_DEPTH
    deep or holds half a surrogate pair.
    """
    if not raw:
        raise BadRequest("the body is empty; a JSON object is needed")
    _check_depth(raw)
    try:
        found = _fields.decode(raw)
        if not raw.isascii():
            str(raw, "utf-8")
    except UnicodeDecodeError as fault:
        raise BadRequest(f"the body is not UTF-8: byte {fault.start} does not belong there") from fault
    except (msgspec.MsgspecError, RecursionError) as fault:
        _check_surrogates(raw)
        raise BadRequest(_said("the body is not a JSON object", str(fault))) from fault
    if b"\\ud" in raw or b"\\uD" in raw:
        _check_surrogates(raw)
    return found


def decode(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """`raw` as the decoder's type. Raises BadRequest that names the field at fault."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as fault:
        raise refusal(str(fault)) from fault
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise BadRequest(f"the body is not JSON: {fault}") from fault


def values(found: Fields) -> dict[str, Any]:
    """The fields as plain JSON values. Raises BadRequest for numbers that no program could hold."""
    values: dict[str, Any] = {}
    for name, raw in found.items():
        try:
            values[name] = msgspec.json.decode(raw)
        except msgspec.MsgspecError as fault:
            words = str(fault).partition(" - at ")[0]
            raise BadRequest(f"{name}: {words[:1].lower()}{words[1:]}", param=name) from fault
    return values


def refusal(said: str) -> BadRequest:
    """msgspec's words ("Expected `str`, got `int` - at `$.messages[0].role`") as an error for users."""
    found = _path.search(said)
    if found is None:
        missing = re.search(r"missing required field `(\w+)`", said)
        if missing:
            return BadRequest(f"{missing[1]}: this field is required", param=missing[1])
        return BadRequest(said.replace("`", ""))
    where = found[1] or "body"
    words = said[: found.start()].replace("`", "")
    missing = re.search(r"missing required field (\w+)", words)
    if missing:
        where = f"{where}.{missing[1]}" if found[1] else missing[1]
        words = "this field is required"
    return BadRequest(f"{where}: {words[0].lower()}{words[1:]}", param=where)


def unknown(value: Any, kind: Any, where: str = "") -> Iterator[str]:
    """Paths of the fields in `value` (plain JSON values) that the struct type `kind` does not have."""
    kind, *others = _structs_of(kind) or [None]
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from unknown(item, _item_kind(kind, others), f"{where}[{at}]")
    elif isinstance(value, dict) and kind is not None:
        struct = _of_same_tag(value, [kind, *others])
        known = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        tag = struct.__struct_config__.tag_field
        for name, inner in value.items():
            path = f"{where}.{name}" if where else name
            if name in known:
                yield from unknown(inner, known[name], path)
            elif name != tag:
                yield path


def _structs_of(kind: Any) -> list[Any]:
    """The struct types that an annotation such as `str | list[A | B] | None` mentions."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    if get_origin(kind) in {Union, UnionType, Annotated, list, tuple}:
        return [struct for argument in get_args(kind) for struct in _structs_of(argument)]
    return []


def _item_kind(kind: Any, others: list[Any]) -> Any:
    return Union[tuple([kind, *others])] if others else kind  # noqa: UP007 - built at run time


def _of_same_tag(value: dict[str, Any], structs: list[Any]) -> Any:
    for struct in structs:
        config = struct.__struct_config__
        if config.tag_field and value.get(config.tag_field) == config.tag:
            return struct
    return structs[0]


def _check_depth(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _brackets)
    depth = 0
    for byte in re.sub(rb'"[^"]*"?', b"", bare):
        depth += 1 if byte in b"[{" else -1
        if depth > MAX_DEPTH:
            raise BadRequest(f"the body nests more than {MAX_DEPTH} levels deep")


def _check_surrogates(raw: bytes) -> None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return  # no JSON at all: the caller says so
    for path, text in _strings(value, ""):
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise BadRequest(f"{path}: holds half of a surrogate pair, which is no character", param=path)


def _strings(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            path = f"{where}.{key}" if where else key
            yield path.encode("ascii", "replace").decode(), key
            yield from _strings(inner, path)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _strings(inner, f"{where}[{at}]")


def _said(what: str, why: str) -> str:
    return f"{what}: {why.replace('`', '')}"
