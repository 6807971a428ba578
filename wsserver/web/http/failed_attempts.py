"""``FailedAttempts``: limit of wrong secrets for each client address."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from math import ceil

from wsserver.clock import Clock
from wsserver.web.http.proxies import parse_address

BURST = 20
"""Wrong secrets from one address in short succession."""
PERIOD_S = 6.0
"""Time after which one more may be tried."""
ADDRESS_LIMIT = 10_000
"""Addresses that are remembered; beyond it, the one that failed longest ago is forgotten."""


class FailedAttempts:
    """Counts wrong secrets for each client address, in memory.

    Ask ``wait_s`` before the secret is compared: a refused attempt says nothing about it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()
        """When an address has its whole burst again, by network; the latest failure last."""

    def wait_s(self, address: str) -> int:
        """Whole seconds until the address may try again; 0: now."""
        free_at = self._free_at.get(_network(address), 0.0)
        return max(0, ceil(free_at - self._clock.monotonic() - (BURST - 1) * PERIOD_S))

    def add(self, address: str) -> None:
        """Count a wrong secret."""
        now, network = self._clock.monotonic(), _network(address)
        self._free_at[network] = max(self._free_at.get(network, now), now) + PERIOD_S
        self._free_at.move_to_end(network)
        if len(self._free_at) > ADDRESS_LIMIT:
            self._free_at.popitem(last=False)


def _network(address: str) -> str:
    """The address; of IPv6 its network of 64 bits, in which one client has all addresses."""
    parsed = parse_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed or address)
