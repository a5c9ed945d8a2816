"""The names that models are pulled by.

llama3:8b   user/model:tag   registry.host/namespace/model:tag    the Ollama registry's protocol
hf.co/org/repo:Q4_K_M   huggingface.co/org/repo                   Hugging Face
"""

import re
from dataclasses import dataclass
from typing import Literal

from casona.exchange.errors import BadRequest

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_HOST = re.compile(
    r"(localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?|[A-Za-z0-9-]+:\d{1,5}"
)
_HUGGING_FACE = frozenset({"hf.co", "huggingface.co", "www.huggingface.co"})
_OLLAMA = frozenset({"registry.ollama.ai", "ollama.com"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`name` is as it was asked for, and what the model is served by. `host` is "" for the default hub.

    `tag` is "latest" where none was given; on Hugging Face that means the usual quantisation.
    """

    name: str
    hub: Literal["ollama", "huggingface"]
    host: str
    namespace: str
    model: str
    tag: str

    @property
    def full(self) -> str:
        """The same for every way to write it."""
        host = "hf.co" if self.hub == "huggingface" else self.host or "registry.ollama.ai"
        return f"{host}/{self.namespace}/{self.model}:{self.tag}"


def parse(name: str) -> Reference:
    """Read a name. Raises BadRequest when it cannot be one."""
    bare = name.strip().removeprefix("https://").removeprefix("http://").rstrip("/")
    host, path = _split_host(bare)
    *spaces, last = path.split("/")
    model, colon, tag = last.partition(":")
    parts = [*spaces, model, *([tag] if colon else [])]
    if not all(_PART.fullmatch(part) for part in parts) or len(spaces) > (2 if host else 1):
        raise _wrong(name)
    if host in _HUGGING_FACE:
        if len(spaces) != 1:
            raise BadRequest(f"{name!r} is not a model: it is hf.co/ORGANISATION/REPOSITORY", param="name")
        return _reference(bare, "huggingface", "", spaces[0], model, tag)
    host = "" if host in _OLLAMA else host
    return _reference(bare, "ollama", host, "/".join(spaces) or "library", model, tag)


def _reference(
    name: str, hub: Literal["ollama", "huggingface"], host: str, namespace: str, model: str, tag: str
) -> Reference:
    return Reference(name=name, hub=hub, host=host, namespace=namespace, model=model, tag=tag or "latest")


def _split_host(name: str) -> tuple[str, str]:
    """A first part is a host if it has a dot or a port and something comes after it, as with Docker."""
    first, slash, rest = name.partition("/")
    return (first.lower(), rest) if slash and _HOST.fullmatch(first) else ("", name)


def _wrong(name: str) -> BadRequest:
    return BadRequest(
        f"{name[:100]!r} is not the name of a model; names look like llama3:8b or hf.co/org/repo:Q4_K_M",
        param="name",
    )
