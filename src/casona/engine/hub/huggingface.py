"""Hugging Face: the GGUF files of a repository, one quantisation of them.

Sources: https://huggingface.co/docs/hub/api (repository information with `blobs=true`),
https://huggingface.co/docs/hub/ollama (how the tag names a quantisation).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from casona.engine import quantisation
from casona.engine.hub.offer import Item, Offer, single
from casona.engine.hub.reference import Reference
from casona.engine.hub.web import Cancel, Small, Web, refuse
from casona.engine.manifest import Role
from casona.exchange.errors import BadRequest, Forbidden, NodeFailed, NotFound

BASE_URL = "https://huggingface.co"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})$")
_PROJECTORS = ("F16", "BF16", "Q8_0", "F32")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    digest: str
    size_bytes: int

    @property
    def stem(self) -> str:
        return self.path.rsplit("/", 1)[-1].removesuffix(".gguf")


@dataclass(frozen=True, slots=True)
class HuggingFaceHub:
    web: Web
    base_url: str = BASE_URL

    def offer(self, reference: Reference, cancel: Cancel) -> Offer:
        """One quantisation of a repository: all its shards, and the vision projector beside it.

        Without a tag the usual one, 4 bits first. Blocking. Raises NotFound, Forbidden, NodeFailed …
        """
        repository = f"{reference.namespace}/{reference.model}"
        base = self.base_url.rstrip("/")
        got = self.web.get_small(f"{base}/api/models/{repository}?blobs=true", {}, cancel)
        if got.status != 200:
            raise _refused(got, repository, base)
        told, files = _read(got.body, repository)
        models, projector = _choose(files, reference)
        commit = told.get("sha")
        revision = commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else "main"
        card = told.get("cardData")
        licence = card.get("license") if isinstance(card, Mapping) else None
        items = [_item(base, repository, revision, *row) for row in _places(models, projector)]
        digests = "\n".join(f"{item.place} {item.digest}" for item in items)
        return Offer(
            digest=hashlib.sha256(digests.encode()).hexdigest(),
            items=tuple(items),
            source=f"hf.co/{repository}@{revision}",
            quantisation=quantisation.in_name(models[0].stem),
            license=licence if isinstance(licence, str) else "",
        )


def _choose(files: list[_File], reference: Reference) -> tuple[list[_File], _File | None]:
    """The model's files in order, and its projector."""
    projectors = [file for file in files if "mmproj" in file.stem.lower()]
    others = [file for file in files if file not in projectors and "imatrix" not in file.stem.lower()]
    sets = _sets(others)
    if not sets:
        raise NotFound(
            f"{reference.name} has no GGUF files; look for a repository of the model with GGUF in its name"
        )
    chosen = _by_tag(sets, reference.tag) if reference.tag != "latest" else _usual(sets)
    if chosen is None:
        raise NotFound(f"{reference.name}: there is no {reference.tag}; there are {_listed(sets)}")
    return sets[chosen], _projector(projectors)


def _sets(files: Iterable[_File]) -> dict[str, list[_File]]:
    """Whole models by path without number and ending; shards in order, incomplete sets left out."""
    sets: dict[str, list[_File]] = {}
    expected: dict[str, int] = {}
    for file in sorted(files, key=lambda file: file.path):
        shard = _SHARD.match(file.path.removesuffix(".gguf"))
        key = shard[1] if shard else file.path.removesuffix(".gguf")
        expected[key] = int(shard[3]) if shard else 1
        sets.setdefault(key, []).append(file)
    return {key: parts for key, parts in sets.items() if len(parts) == expected[key]}


def _by_tag(sets: dict[str, list[_File]], tag: str) -> str | None:
    """The set whose file name, quantisation or end of name the tag is, in any case; the plainest first."""
    wanted = tag.upper().removesuffix(".GGUF")
    plainest = sorted(sets, key=lambda key: (key.count("/"), len(key), key))
    names = {key: key.rsplit("/", 1)[-1].upper() for key in plainest}
    for key in plainest:
        if names[key] == wanted:
            return key
    for key in plainest:
        if _quantisation(key) == wanted or re.search(rf"[-_.]{re.escape(wanted)}$", names[key]):
            return key
    return None


def _usual(sets: dict[str, list[_File]]) -> str:
    order = {name: rank for rank, name in enumerate(quantisation.PREFERENCE)}
    return min(
        sets, key=lambda key: (order.get(_quantisation(key), len(order)), key.count("/"), len(key), key)
    )


def _quantisation(key: str) -> str:
    return quantisation.in_name(key.rsplit("/", 1)[-1])


def _projector(files: list[_File]) -> _File | None:
    order = {name: rank for rank, name in enumerate(_PROJECTORS)}

    def rank(file: _File) -> tuple[int, str]:
        return order.get(quantisation.in_name(file.stem), len(order)), file.path

    return min(files, key=rank) if files else None


def _listed(sets: dict[str, list[_File]]) -> str:
    names = {_quantisation(key) or key for key in sets}
    return ", ".join(sorted(names)[:20])


def _places(models: list[_File], projector: _File | None) -> Iterable[tuple[_File, str, Role]]:
    """Where each file goes. Shards keep their names, in a directory that is named by what they are."""
    if len(models) == 1:
        yield models[0], single(models[0].digest), "model"
    else:
        whole = hashlib.sha256("".join(file.digest for file in models).encode()).hexdigest()
        for number, file in enumerate(models, start=1):
            name = f"model-{number:05}-of-{len(models):05}.gguf"
            yield file, f"blobs/set-{whole}/{name}", "model"
    if projector:
        yield projector, single(projector.digest), "projector"


def _item(base: str, repository: str, revision: str, file: _File, place: str, role: Role) -> Item:
    url = f"{base}/{repository}/resolve/{revision}/{quote(file.path)}"
    return Item(url=url, digest=file.digest, size_bytes=file.size_bytes, role=role, place=place)


def _read(body: bytes, repository: str) -> tuple[dict[str, Any], list[_File]]:
    """A repository's information, and the GGUF files of which it gives the checksum."""
    try:
        told = json.loads(body)
        files = [_file(entry) for entry in told["siblings"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise NodeFailed(f"Hugging Face's answer about {repository} cannot be read") from None
    return told, [file for file in files if file]


def _file(entry: dict[str, Any]) -> _File | None:
    path, stored = entry["rfilename"], entry.get("lfs") or {}
    if not isinstance(path, str) or not path.endswith(".gguf"):
        return None
    digest, size = str(stored.get("sha256") or stored.get("oid")), stored.get("size", entry.get("size"))
    if not _DIGEST.fullmatch(digest) or not isinstance(size, int) or size <= 0:
        return None
    return _File(path, digest, size)


def _refused(got: Small, repository: str, base: str) -> Exception:
    page = f"{base}/{repository}"
    if got.status in (401, 403):  # Hugging Face says 401 for what does not exist, too
        return Forbidden(
            f"there is no repository {repository}, or it is gated: accept its terms at {page}, set HF_TOKEN"
        )
    if got.status == 404:
        return NotFound(f"there is no repository {repository} on Hugging Face")
    if got.status == 400:
        return BadRequest(f"{repository} is not the name of a repository on Hugging Face", param="name")
    return refuse(got.status, "Hugging Face", f"the repository {repository}", got.headers)
