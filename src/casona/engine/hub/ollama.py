"""The Ollama registry's protocol: Docker's manifest v2 with layers of Ollama's own kinds.

Sources: https://github.com/ollama/ollama/blob/main/server/images.go (layers),
https://distribution.github.io/distribution/spec/api (manifests, blobs).
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from casona.engine.hub.offer import Item, Offer, single
from casona.engine.hub.reference import Reference
from casona.engine.hub.web import Cancel, Web, refuse
from casona.engine.manifest import Role
from casona.exchange.errors import BadRequest, NodeFailed, NotFound

BASE_URL = "https://registry.ollama.ai"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_KIND = "application/vnd.ollama.image."
_FILES: dict[str, Role] = {"model": "model", "projector": "projector", "adapter": "adapter"}
_TEXTS = frozenset({"template", "params", "system", "license"})
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LARGEST_BYTES = 2**42


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OllamaHub:
    """`base_url` is the default registry's; a reference with a host of its own is asked for there."""

    web: Web
    base_url: str = BASE_URL

    def offer(self, reference: Reference, cancel: Cancel) -> Offer:
        """What the registry has for a name. Blocking. Raises NotFound, Forbidden, BadRequest, NodeFailed …"""
        base = _address(reference.host) if reference.host else self.base_url
        root = f"{base.rstrip('/')}/v2/{reference.namespace}/{reference.model}"
        got = self.web.get_small(f"{root}/manifests/{reference.tag}", {"Accept": _MANIFEST}, cancel)
        host = base.partition("//")[2]
        if got.status == 404:
            raise NotFound(f"{host} has no model {reference.name!r}; look at https://ollama.com/library")
        if got.status != 200:
            raise refuse(got.status, host, f"the model {reference.name!r}", got.headers)
        layers, config = _layers(got.body, host)
        self._check(reference, layers, self._config(root, config, cancel))
        texts = [(layer.kind, self._text(root, layer, cancel)) for layer in layers if layer.kind in _TEXTS]
        told = dict(reversed(texts))
        return Offer(
            digest=hashlib.sha256(got.body).hexdigest(),
            items=tuple(_item(root, layer) for layer in layers if layer.kind in _FILES),
            source=f"{host}/{reference.namespace}/{reference.model}:{reference.tag}",
            template=told.get("template", ""),
            parameters=_parameters(told.get("params", "")),
            system=told.get("system", ""),
            license="\n\n".join(text for kind, text in texts if kind == "license"),
        )

    def _check(self, reference: Reference, layers: list[_Layer], config: dict[str, Any]) -> None:
        if config.get("remote_host") or config.get("remote_model"):
            raise BadRequest(f"{reference.name} runs in Ollama's cloud and cannot be pulled", param="name")
        models = [layer for layer in layers if layer.kind == "model"]
        if len(models) != 1 or config.get("model_format", "gguf") != "gguf":
            raise BadRequest(
                f"{reference.name} is not a single GGUF file, which llama.cpp needs", param="name"
            )

    def _config(self, root: str, config: _Layer | None, cancel: Cancel) -> dict[str, Any]:
        told = _json(self._text(root, config, cancel)) if config and config.size_bytes else {}
        return told if isinstance(told, dict) else {}

    def _text(self, root: str, layer: _Layer, cancel: Cancel) -> str:
        got = self.web.get_small(f"{root}/blobs/sha256:{layer.digest}", {}, cancel)
        if got.status != 200:
            raise refuse(got.status, root.split("/")[2], f"the model's {layer.kind}", got.headers)
        if hashlib.sha256(got.body).hexdigest() != layer.digest:
            raise NodeFailed(f"the model's {layer.kind} came with wrong content (its checksum differs)")
        return got.body.decode("utf-8", "replace")


def _address(host: str) -> str:
    """A registry on this machine has no certificate; every other must have one."""
    local = host.rpartition(":")[0] or host
    return f"http://{host}" if local in ("localhost", "127.0.0.1", "[::1]") else f"https://{host}"


def _item(root: str, layer: _Layer) -> Item:
    return Item(
        url=f"{root}/blobs/sha256:{layer.digest}",
        digest=layer.digest,
        size_bytes=layer.size_bytes,
        role=_FILES[layer.kind],
        place=single(layer.digest),
    )


def _layers(body: bytes, host: str) -> tuple[list[_Layer], _Layer | None]:
    """The layers of a manifest, and its configuration. Raises NodeFailed when it is none."""
    manifest = _json(body.decode("utf-8", "replace"))
    try:
        layers = [_layer(entry) for entry in manifest["layers"]]
        config = _layer(manifest["config"]) if manifest.get("config") else None
    except (TypeError, KeyError, ValueError, AttributeError):
        raise NodeFailed(f"{host} answered with something that is not a model's manifest") from None
    return layers, config


def _layer(entry: dict[str, Any]) -> _Layer:
    digest = _DIGEST.fullmatch(entry["digest"])
    size = entry["size"]
    if digest is None or not isinstance(size, int) or not 0 <= size <= _LARGEST_BYTES:
        raise ValueError("not a layer")
    return _Layer(str(entry["mediaType"]).removeprefix(_KIND), digest[1], size)


def _parameters(text: str) -> dict[str, Any]:
    told = _json(text) if text else {}
    return told if isinstance(told, dict) else {}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
