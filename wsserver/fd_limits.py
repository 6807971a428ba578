"""File descriptors of this process: limit, use, and the number available to clients."""

from __future__ import annotations

import contextlib
import os
import resource

KEPT_BACK = 64
"""Descriptors reserved for the database, logs, and requests of connected clients."""
SPARE = 436
"""With ``KEPT_BACK`` the 500 above ``max_connections`` that docs/deployment.rst recommends."""
UNLIMITED = 2**31


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one: each connection needs a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """Maximum number of open descriptors of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def attainable_connections(most: int) -> int:
    """``most`` connections, or fewer if the hard limit of descriptors is lower.

    Of a limit too low for the spare descriptors, clients get half.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return most
    allowed = max(hard - KEPT_BACK - SPARE, (hard - KEPT_BACK) // 2, 1)
    return min(most, allowed)


def lowest_free() -> int:
    """Number of the next descriptor: at least as many are in use."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return UNLIMITED
    os.close(descriptor)
    return descriptor
