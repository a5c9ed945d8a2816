"""How far data travels."""

from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit


class Zone(StrEnum):
    """local (this machine) < private (machines we own) < cloud."""

    LOCAL = "local"
    PRIVATE = "private"
    CLOUD = "cloud"

    def __init__(self, value: str) -> None:
        self.distance = ("local", "private", "cloud").index(value)


def zone_of_address(url: str) -> Zone:
    """The zone of a server whose owner has not said one: loopback is local, a private address private,
    everything else cloud. Names are not looked up, for what they lead to can change.
    """
    host = (urlsplit(url).hostname or "").removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return Zone.LOCAL
    try:
        address = ip_address(host)
    except ValueError:
        return Zone.CLOUD
    inner = getattr(address, "ipv4_mapped", None) or address  # ::ffff:8.8.8.8 is no private address
    if inner.is_loopback:
        return Zone.LOCAL
    return Zone.PRIVATE if inner.is_private else Zone.CLOUD
