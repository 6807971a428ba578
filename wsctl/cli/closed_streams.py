"""Standard streams that the caller has closed (``>&-``, ``2>&-``, ``<&-``)."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from wsctl.errors import Failed


class ClosedOutput(io.TextIOBase):
    """Stands for a standard output that is closed: writing fails, with one line for people.

    Python has None there, on which nothing fails: rows would be lost with exit code 0.
    """

    def write(self, text: str, /) -> int:
        """Raise ``Failed``, unless there is nothing to write."""
        if text:
            raise Failed("cannot write the output: standard output is closed")
        return 0

    def writable(self) -> bool:
        """As files have it."""
        return True


def replace_closed_streams() -> None:
    """Put something in the place of closed streams, before anything is opened.

    The descriptors 0, 1 and 2 are taken by ``/dev/null``, else the next file or socket gets one of
    them. Talk on a closed standard error goes nowhere; standard input stays None.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free one, which is this
    if sys.stdout is None:
        sys.stdout = ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the end
