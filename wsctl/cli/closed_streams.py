"""Replacements for standard streams that the caller has closed (``>&-``, ``2>&-``, ``<&-``)."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from wsctl.errors import Failed


class ClosedOutput(io.TextIOBase):
    """Replaces a closed standard output: writing raises ``Failed``.

    Python has None there, so that ``print`` would lose rows with exit code 0.
    """

    def write(self, text: str, /) -> int:
        """Raise ``Failed``, unless there is nothing to write."""
        if text:
            raise Failed("cannot write the output: standard output is closed")
        return 0

    def writable(self) -> bool:
        """Required by ``io``."""
        return True


def replace_closed_streams() -> None:
    """Replace closed streams, before anything is opened.

    Descriptors 0, 1 and 2 are opened on ``/dev/null``, else the next file or socket would get one
    of them. Output to a closed standard error is discarded; standard input stays None.
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
