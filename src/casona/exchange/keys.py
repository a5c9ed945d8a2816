"""Who is calling: what a key says about its holder, never the secret itself."""

from dataclasses import dataclass

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
