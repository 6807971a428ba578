"""``python -m wsserver.workers NODE DESCRIPTOR``: a worker process, for the supervisor only."""

from __future__ import annotations

import sys

from wsserver.cli.common import import_quickly, replace_closed_streams

if __name__ == "__main__":
    replace_closed_streams()
    import_quickly()
    from wsserver.workers.worker import main

    sys.exit(main(int(sys.argv[2])))
