"""Which zone a node is in unless its owner says so. Source: RFC 1918, RFC 4193."""

import ipaddress

from casona.exchange.zones import Zone


def zone_of_host(host: str) -> Zone:
    """Loopback is local, a private address private, everything else cloud: names may point anywhere."""
    if host == "localhost" or host.endswith(".localhost"):
        return Zone.LOCAL
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return Zone.CLOUD
    address = getattr(address, "ipv4_mapped", None) or address  # ::ffff:8.8.8.8 passes for private otherwise
    if address.is_loopback:
        return Zone.LOCAL
    if address.is_private and not address.is_unspecified:
        return Zone.PRIVATE
    return Zone.CLOUD


def strictest(first: Zone, *others: Zone | None) -> Zone:
    """The nearest of the limits that are set."""
    found = first
    for zone in others:
        if zone is not None and zone.distance < found.distance:
            found = zone
    return found
