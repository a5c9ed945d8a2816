"""A model of the engine as others see it."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from casona.engine.loaded import Loaded
from casona.engine.plan import kind_of
from casona.engine.shelf import ModelFile
from casona.engine.sizing import Sizing

ModelState = Literal["asleep", "loading", "ready", "draining"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """A model as it is now. `kinds` are of chat, vision, embed, rerank. `broken` is why it can't be served.

    `context_tokens` is what one request may have, 0 where unknown. `progress` of a load is 0 to 1, None
    when it can't be told. `expires_at` is in seconds since the epoch; inf when it stays for ever, and while
    it is used. `memory_bytes` is what it holds of the budget. Asleep, the last five are empty.
    """

    name: str
    file: ModelFile
    kinds: frozenset[str]
    context_tokens: int
    size_bytes: int
    broken: str = ""
    device: str = "cpu"
    state: ModelState = "asleep"
    progress: float | None = None
    expires_at: float = math.inf
    memory_bytes: int = 0
    parallel: int = 0
    busy: int = 0


def listed(
    file: ModelFile, loaded: Loaded | None, sizing: Sizing | None, *, broken: str, device: str
) -> EngineModel:
    """`sizing` is what it has, or would have, if that is known yet."""
    if loaded and loaded.sizing:
        sizing = loaded.sizing
    own = file.header.context_tokens if file.header else 0
    model = EngineModel(
        name=file.name,
        file=file,
        kinds=_kinds(file),
        context_tokens=sizing.context_tokens if sizing else own,
        size_bytes=file.size_bytes,
        broken=broken,
        device=device if sizing and sizing.gpu_layers else "cpu",
        parallel=sizing.parallel if sizing else 0,
    )
    if loaded is None or loaded.state == "gone":
        return model
    return replace(
        model,
        state=loaded.state,
        progress=loaded.progress(),
        expires_at=loaded.expires_at,
        memory_bytes=loaded.sizing.memory_bytes if loaded.sizing else 0,
        busy=loaded.busy,
    )


def _kinds(file: ModelFile) -> frozenset[str]:
    kinds = {str(kind_of(file.header))} if file.header else set()
    return frozenset(kinds | ({"vision"} if file.mmproj else set()))
