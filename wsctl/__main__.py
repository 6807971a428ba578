"""The entry point, kept free of imports so that Ctrl-C is quiet from the first moment."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def _terminate(number: int, _: FrameType | None) -> None:
    # An exception instead of sudden death: the terminal's cursor and temporary files are cared
    # for. The code is the one that a shell gives for the signal.
    sys.exit(128 + number)


def _insist(unraisable: sys.UnraisableHookArgs) -> None:
    # A Ctrl-C that comes inside a destructor or a weak reference's callback is lost: Python cannot
    # raise there. So it is said again in a moment.
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(unraisable)


def heed_signals() -> None:
    """Have SIGTERM end the program in order, and no Ctrl-C be lost."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = _insist


def main() -> None:
    """Run the command line and leave with its exit code."""
    heed_signals()
    try:
        from wsctl.cli.root import wsctl

        wsctl(prog_name="wsctl")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
