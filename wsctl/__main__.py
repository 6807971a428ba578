"""The entry point, kept free of imports so that Ctrl-C is quiet from the first moment."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from wsctl.cli import wsctl

        wsctl(prog_name="wsctl")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
