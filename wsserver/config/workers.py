"""The setting ``workers``: what several processes on one machine need."""

from __future__ import annotations

import socket
from importlib.util import find_spec

from wsserver.config.channels import require
from wsserver.config.faults import Faulty, NotInstalled
from wsserver.config.settings import Settings


def check_workers(settings: Settings) -> None:
    """Raise ``Faulty`` for a number of workers that cannot be started here."""
    if settings.workers == 1:
        return
    if not hasattr(socket, "SO_REUSEPORT"):
        raise Faulty("must be 1 on this system, which has no SO_REUSEPORT")
    if settings.redis_url is None:
        require("workers")
        if find_spec("redis") is None:
            raise NotInstalled(
                "needs the package redis, which is not installed: pip install 'wsserver[workers]'"
            )
