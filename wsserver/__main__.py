"""``python -m wsserver``: the command ``wsserver``."""

from __future__ import annotations

from wsserver.cli import main

main(prog_name="wsserver")
