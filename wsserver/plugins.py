"""Functions of other programs that are called once, at start, with the ``WebSocketManager``."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Any, NamedTuple

from wsserver.config import ConfigFaults, Fault
from wsserver.realtime.manager import WebSocketManager

log = logging.getLogger(__name__)

GROUP = "wsserver.plugins"
"""Entry points of this group are plugins without being named in the settings."""


class Plugin(NamedTuple):
    """A function, which may be ``async``, and what it is called in faults."""

    name: str
    function: Callable[[WebSocketManager], Any]


def load_plugins(names: Iterable[str]) -> list[Plugin]:
    """Import the installed plugins, then those named as ``module:function``, in this order.

    Modules in the working folder are found too, after all that is installed. Raises
    ``ConfigFaults`` with every one that cannot be imported or called; at debug their
    tracebacks are logged.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    plugins, faults = [], []
    wanted: list[tuple[str, Callable[[], Any]]] = [
        (f"entry point {entry.name}", entry.load) for entry in entry_points(group=GROUP)
    ]
    wanted += [(name, partial(_find, name)) for name in names]
    for name, load in wanted:
        try:
            function = load()
        except Exception as error:  # foreign code may raise anything at import
            log.debug("plugin cannot be imported name=%s", name, exc_info=True)
            faults.append(_fault(name, "cannot be imported", error))
            continue
        if callable(function):
            plugins.append(Plugin(name, function))
        else:
            faults.append(Fault("plugins", "start", f"{name} is not a function"))
    if faults:
        raise ConfigFaults(faults)
    return plugins


async def call_plugins(plugins: Iterable[Plugin], manager: WebSocketManager) -> None:
    """Call them in order. Raises ``ConfigFaults`` for the first that raises."""
    for name, function in plugins:
        try:
            result = function(manager)
            if inspect.isawaitable(result):
                await result
        except Exception as error:  # as above
            log.debug("plugin failed name=%s", name, exc_info=True)
            raise ConfigFaults([_fault(name, "failed", error)]) from None
        log.info("plugin called name=%s", name)


def _find(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return attrgetter(attribute)(importlib.import_module(module))


def _fault(name: str, what: str, error: Exception) -> Fault:
    message = f"{name} {what}: {type(error).__name__}: {error} (where: with log_level debug)"
    return Fault("plugins", "start", message)
