"""A real house with its library at work, a client for its routes, and documents to put in."""

import http.client
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tests.library.pdf_maker import pdf

from casona import running, wiring
from casona.home import Home
from casona.house import House
from casona.settings import Settings
from casona.web.server import bind, url_of

TIMEOUT_S = 60.0
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'

BEES = "# Bees\n\nThe queen bee lays up to two thousand eggs a day in the brood nest of the hive.\n"
ABEJAS = "# Abejas\n\nLa abeja reina pone hasta dos mil huevos al día en la cámara de cría de la colmena.\n"


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> tuple[int, str, str | None]:
        """Status, message and field of a refusal in OpenAI's shape."""
        error = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return self.status, error["message"], error["param"]

    @property
    def events(self) -> list[dict[str, Any]]:
        pieces = self.raw.decode().split("\n\n")
        return [json.loads(piece.removeprefix("data: ")) for piece in pieces if piece.startswith("data: ")]


@dataclass(frozen=True, kw_only=True)
class Reading:
    house: House
    url: str
    api_key: str

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> Reply:
        """An iterable of bytes is sent in chunks; anything that is no bytes, as JSON."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        content = body if body is None or isinstance(body, bytes | Iterator) else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.api_key if key is None else key}"} | headers
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(status=answer.status, headers=told, raw=answer.read())
        finally:
            connection.close()

    def put(self, source: str, content: bytes, collection: str | None = None, **more: Any) -> Reply:
        query = {"source": source} | ({"collection": collection} if collection else {})
        return self.ask("PUT", f"/library/documents?{urlencode(query)}", content, **more)

    def stored(self, source: str, content: bytes, collection: str | None = None) -> str:
        """The id of a document that must be taken."""
        reply = self.put(source, content, collection)
        assert reply.status == 200, reply.raw
        document: str = reply.json["document"]
        return document

    def upload(self, name: str, content: bytes, collection: str | None = None, **more: Any) -> Reply:
        fields = {"collection": collection} if collection else {}
        return self.send_form(form((name, content), **fields), **more)

    def send_form(self, body: bytes, *, boundary: str = "b", **more: Any) -> Reply:
        kind = f"multipart/form-data; boundary={boundary}"
        return self.ask("POST", "/rag/upload", body, **({"content-type": kind} | more))

    def page(self, document: str, number: int) -> str:
        text: str = self.ask("GET", f"/library/documents/{quote(document)}/pages/{number}").json["text"]
        return text

    def make_key(self, **wanted: Any) -> str:
        """The secret of a new key that is no admin's."""
        kind = {"content-type": "application/json"}
        key: str = self.ask("POST", "/admin/keys", wanted, **kind).json["key"]
        return key

    def leftovers(self) -> set[str]:
        """What uploads have left on the disk: drafts, and kept files of any document."""
        folder = self.house.home.library_dir
        kept = [*folder.glob("incoming/**/*"), *folder.glob("files/**/*")]
        return {str(path.relative_to(folder)) for path in kept if path.is_file()}


@contextmanager
def reading_house(path: Path, models: Sequence[Path] = (), **groups: Any) -> Iterator[Reading]:
    """One of its own at `path`; keywords are groups of settings. It has no engine unless it has models."""
    home = Home(path)
    home.create()
    home.models_dir.mkdir(exist_ok=True)
    for model in models:
        (home.models_dir / model.name).symlink_to(model)
    quiet = {"discovery": {"ollama": False}, "log": {"level": "warning"}}
    settings = Settings.model_validate(quiet | {"engine": {"enabled": bool(models)}} | groups)
    with wiring.opened(home, settings, "a test") as house:
        listening = bind("127.0.0.1", 0)
        with home.announced(url_of(listening), house.instance), running.Background(house, listening):
            key = house.new_admin_key or home.admin_key() or ""
            yield Reading(house=house, url=url_of(listening), api_key=key)


def form(file: tuple[str, bytes] | None, /, **fields: str) -> bytes:
    """A multipart body with the boundary `b`."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if file is not None:
        head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{file[0]}"\r\n\r\n'
        parts.append(head.encode() + file[1] + b"\r\n")
    return b"".join(parts) + b"--b--\r\n"


def word(path: Path, *paragraphs: str, filler: int = 0) -> bytes:
    """A Word document; `filler` blanks in its text pack to next to nothing."""
    text = "".join(f"<w:p><w:r><w:t>{one}</w:t></w:r></w:p>" for one in paragraphs)
    blanks = " " * filler
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f"<w:document {W}><w:body>{text}{blanks}</w:body></w:document>")
    return path.read_bytes()


def portable(path: Path, *pages: str) -> bytes:
    """A PDF with one line of text a page."""
    return pdf(path, [[(text, 72, 700, 12, "F1")] for text in pages]).read_bytes()


def encrypted(path: Path) -> bytes:
    """A PDF that no password of ours opens: its check values are made up."""
    content = portable(path, "secret")
    lock = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>] >>"
    return content.replace(b"/Info 5 0 R >>", lock % (b"ab" * 32, b"cd" * 32))
