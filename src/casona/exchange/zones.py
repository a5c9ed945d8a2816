"""How far data travels."""

from enum import StrEnum


class Zone(StrEnum):
    """local (this machine) < private (machines we own) < cloud."""

    LOCAL = "local"
    PRIVATE = "private"
    CLOUD = "cloud"

    def __init__(self, value: str) -> None:
        self.distance = ("local", "private", "cloud").index(value)
