"""File descriptors of this process: the limit, those in use, those that clients may take."""

from __future__ import annotations

import contextlib
import os
import resource

KEPT_BACK = 64
"""Descriptors never given to clients: database, logs, and answers to those already connected."""
SPARE = 436
"""With ``KEPT_BACK`` the 500 above ``max_connections`` that docs/deployment.rst recommends."""
UNLIMITED = 2**31


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one: each connection takes a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """How many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def attainable_connections(most: int) -> int:
    """``most`` connections, or what the hard limit of descriptors allows if that is less.

    Of a limit too small for the spare descriptors, clients get half.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return most
    allowed = max(hard - KEPT_BACK - SPARE, (hard - KEPT_BACK) // 2, 1)
    return min(most, allowed)


def lowest_free() -> int:
    """The number that the next descriptor will get: as many at least are in use."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return UNLIMITED
    os.close(descriptor)
    return descriptor
