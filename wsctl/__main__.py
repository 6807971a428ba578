"""Entry point of ``wsctl``; imports little, so that an early Ctrl-C prints no traceback."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def _terminate(number: int, _: FrameType | None) -> None:
    # An exception, so that the terminal is restored and temporary files are removed. The exit code
    # is the one that a shell reports for the signal.
    sys.exit(128 + number)


def _repeat_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    # A Ctrl-C inside a destructor or a weak reference's callback is lost, as Python cannot raise
    # there: the timer raises it again.
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(unraisable)


def install_signal_handlers() -> None:
    """Make SIGTERM exit cleanly, and lose no Ctrl-C."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = _repeat_interrupt


def main() -> None:
    """Run the command line and exit with its code."""
    install_signal_handlers()
    try:
        from wsctl.cli.root import wsctl

        wsctl(prog_name="wsctl")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
