"""What an Ollama server has: /api/tags, with /api/show for each model and /api/ps for loaded ones.

Source: Ollama docs/api.md. `remote_host` marks a model that runs elsewhere under a local name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from casona.exchange.zones import Zone
from casona.nodes.base import Ability, NodeModel

ABILITIES: dict[str, Ability] = {
    "completion": "chat",
    "embedding": "embed",
    "vision": "vision",
    "tools": "tools",
}
"""Ollama's capabilities in our words."""

LATEST = ":latest"
CLOUD_SUFFIXES = (":cloud", "-cloud")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one model. `num_ctx` is what its Modelfile sets, `loaded_tokens` what is loaded now.

    `capabilities` None when the server does not say.
    """

    name: str
    digest: str = ""
    created: int = 0
    remote: bool = False
    family: str = ""
    capabilities: frozenset[str] | None = None
    trained_tokens: int | None = None
    num_ctx: int | None = None
    loaded_tokens: int | None = None

    @property
    def thinks(self) -> bool | None:
        return None if self.capabilities is None else "thinking" in self.capabilities

    @property
    def thinks_in_levels(self) -> bool:
        """Other families refuse a level, or silently take any for `true`."""
        return self.family.replace("-", "") == "gptoss"

    def takes(self, capability: str) -> bool:
        """Whether it can, or may, do this."""
        return self.capabilities is None or capability in self.capabilities

    def context(self, configured: int | None) -> int | None:
        """The one `num_ctx` of all requests: as configured, else the Modelfile's, never more than trained."""
        wanted = configured or self.num_ctx
        return min(wanted, self.trained_tokens) if wanted and self.trained_tokens else wanted

    def listed(self, zone: Zone, configured: int | None) -> NodeModel:
        return NodeModel(
            name=self.name,
            zone=Zone.CLOUD if self.remote else zone,
            abilities=frozenset(ABILITIES[name] for name in self.capabilities or () if name in ABILITIES),
            context_tokens=self.context(configured) or self.loaded_tokens,
            created=self.created,
        )


def is_cloud_name(name: str) -> bool:
    """Whether the name alone says that the model runs in Ollama's cloud, as in `gpt-oss:120b-cloud`."""
    return name.lower().removesuffix(LATEST).endswith(CLOUD_SUFFIXES)


def from_tags(tags: Any) -> list[Facts] | None:
    """The models of an /api/tags answer; None when it is none."""
    rows = tags.get("models") if isinstance(tags, dict) else None
    if not isinstance(rows, list):
        return None
    return [_from_tag(row) for row in rows if isinstance(row, dict) and (row.get("model") or row.get("name"))]


def _from_tag(row: dict[str, Any]) -> Facts:
    name = str(row.get("model") or row["name"])
    details = _object(row.get("details"))
    return Facts(
        name=name,
        digest=str(row.get("digest") or ""),
        created=_unix_s(row.get("modified_at")),
        remote=_is_remote(row) or is_cloud_name(name),
        family=str(details.get("family") or ""),
    )


def with_show(facts: Facts, show: Any) -> Facts:
    """The same model with what /api/show says of it."""
    if not isinstance(show, dict):
        return facts
    info = _object(show.get("model_info"))
    capabilities = show.get("capabilities")
    return replace(
        facts,
        remote=facts.remote or _is_remote(show),
        family=facts.family or str(info.get("general.architecture") or ""),
        capabilities=frozenset(map(str, capabilities)) if isinstance(capabilities, list) else None,
        trained_tokens=_trained_tokens(info),
        num_ctx=_num_ctx(str(show.get("parameters") or "")),
    )


def loaded(ps: Any) -> dict[str, int]:
    """The context of each model that /api/ps says is loaded."""
    rows = ps.get("models") if isinstance(ps, dict) else None
    return {
        str(row.get("model") or row.get("name")): row["context_length"]
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("context_length"), int) and row["context_length"] > 0
    }


def offered(found: Sequence[Facts], names: Sequence[str]) -> list[Facts]:
    """Those of the settings' names that are there, under those names; all when the settings name none."""
    if not names:
        return list(found)
    by_name = {facts.name: facts for facts in found}
    there = [(name, by_name.get(name) or by_name.get(name + LATEST)) for name in names]
    return [replace(facts, name=name) for name, facts in there if facts is not None]


def _is_remote(row: dict[str, Any]) -> bool:
    return bool(row.get("remote_host") or row.get("remote_model"))


def _trained_tokens(info: dict[str, Any]) -> int | None:
    found = info.get(f"{info.get('general.architecture')}.context_length")
    if not isinstance(found, int):
        found = next((value for key, value in info.items() if key.endswith(".context_length")), None)
    return found if isinstance(found, int) and found > 0 else None


def _num_ctx(parameters: str) -> int | None:
    """From a Modelfile's parameters: one `name value` a line."""
    for line in parameters.splitlines():
        name, _, value = line.strip().partition(" ")
        if name == "num_ctx" and value.strip().isdecimal():
            return int(value) or None
    return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _unix_s(text: Any) -> int:
    """Go writes nanoseconds, which Python 3.11 cuts; the zero time is before 1970."""
    try:
        return max(0, int(datetime.fromisoformat(str(text)).timestamp()))
    except (ValueError, OverflowError):
        return 0
