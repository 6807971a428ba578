"""Event loop of the server: uvloop where it is installed, else that of asyncio."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def fastest_loop() -> LoopFactory | None:
    """uvloop's factory, None for the loop of asyncio.

    uvloop is installed where it has wheels (``setup.py``); elsewhere, or after ``pip uninstall
    uvloop``, asyncio's loop is used, with less throughput.
    """
    uvloop = _uvloop()
    if uvloop is None:
        return None
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def name_of(loop: asyncio.AbstractEventLoop) -> str:
    """``uvloop`` or ``asyncio``."""
    return type(loop).__module__.partition(".")[0]


def describe() -> str:
    """The loop that a server would run on: ``uvloop 0.23.0`` or ``asyncio``."""
    uvloop = _uvloop()
    return "asyncio" if uvloop is None else f"uvloop {uvloop.__version__}"


def _uvloop() -> Any:
    try:
        return importlib.import_module("uvloop")
    except ImportError:
        return None
