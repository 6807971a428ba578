"""Death of a child process with its parent, where the system has it (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

_prctl = None
if sys.platform == "linux":
    with contextlib.suppress(OSError, AttributeError):
        _prctl = ctypes.CDLL(None).prctl  # looked up before a fork, not after it


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Get a signal when the parent dies; to be called in the child, before ``exec``."""
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # it has died already
        os.kill(os.getpid(), number)
