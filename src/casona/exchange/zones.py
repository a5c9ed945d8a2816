"""How far data travels."""

from enum import StrEnum


class Zone(StrEnum):
    """local (this machine) < private (machines we own) < cloud."""

    LOCAL = "local"
    PRIVATE = "private"
    CLOUD = "cloud"

    @property
    def distance(self) -> int:
        return list(Zone).index(self)
