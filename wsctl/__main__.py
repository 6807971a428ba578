"""The entry point, kept free of imports so that Ctrl-C is quiet from the first moment."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def _terminate(number: int, _: FrameType | None) -> None:
    # An exception instead of sudden death: the terminal's cursor and temporary files are cared
    # for. The code is the one that a shell gives for the signal.
    sys.exit(128 + number)


def main() -> None:
    """Run the command line and leave with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from wsctl.cli import wsctl

        wsctl(prog_name="wsctl")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
