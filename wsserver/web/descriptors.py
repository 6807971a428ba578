"""How many descriptors the process has, and how many of them clients may take."""

from __future__ import annotations

import os
import resource

KEPT_BACK = 64
"""Descriptors never given to clients: database, logs, and answers to those who are there."""
UNLIMITED = 2**31


def descriptor_limit() -> int:
    """How many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def lowest_free() -> int:
    """The number that the next descriptor will get: as many at least are in use."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return UNLIMITED
    os.close(descriptor)
    return descriptor
