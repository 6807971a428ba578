"""Which names and addresses mean this machine alone."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Does the host (name or address, IPv6 with or without brackets) mean this machine alone?

    An IPv4 address mapped into IPv6, as a socket of both kinds shows its peers, is the IPv4 one.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
