"""Who is calling: what a key says about its holder, never the secret itself."""

from dataclasses import dataclass

from casona.exchange.errors import Forbidden
from casona.exchange.zones import Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """`models` empty allows every model; `max_zone` None leaves it to the house. Times are unix seconds.

    `prefix` is the start of the secret, enough to recognise it by and far too little to guess it from.
    """

    id: str
    name: str
    prefix: str
    created: float
    admin: bool = False
    revoked: float | None = None
    models: tuple[str, ...] = ()
    max_zone: Zone | None = None

    def allows_model(self, model: str) -> bool:
        """Whether the key may ask for a model by this name.

        `x` is `x:latest`, and who may use a model may say on which node: `x` allows `x@node`, not the
        other way round.
        """
        if not self.models or model in self.models:
            return True
        base, _, node = model.rpartition("@")
        names = {_whole(model), _whole(base)} if node else {_whole(model)}
        return any(_whole(allowed) in names for allowed in self.models)

    def require_model(self, model: str) -> None:
        """Raises Forbidden unless the key may ask for this model."""
        if not self.allows_model(model):
            raise Forbidden(
                f"this key may not use the model {model!r}, only {', '.join(self.models)}", param="model"
            )


def _whole(name: str) -> str:
    base, at, node = name.rpartition("@")
    model, tail = (base, at + node) if at else (name, "")
    return name if ":" in model else f"{model}:latest{tail}"
