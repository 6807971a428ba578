"""Plugins: functions of other packages that are called once, at start, with the ``Server``."""

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
from typing import Any, NamedTuple, Protocol

from wsserver.config import ConfigFaults, Fault
from wsserver.realtime.manager import WebSocketManager

log = logging.getLogger(__name__)

GROUP = "wsserver.plugins"
"""Entry points of this group are plugins without being named in the settings."""


class Plugin(NamedTuple):
    """A function, which may be ``async``, with the name that faults show."""

    name: str
    function: Callable[[Any], Any]


class Host(Protocol):
    """The argument of plugins: the ``Server``."""

    @property
    def manager(self) -> WebSocketManager:
        """The argument of plugins whose parameter is named ``manager``."""


def load_plugins(names: Iterable[str]) -> list[Plugin]:
    """Import the installed plugins, then those named as ``module:function``, in this order.

    Modules in the working folder are found too, after all that is installed. Raises
    ``ConfigFaults`` with every one that cannot be imported or called; at debug their
    tracebacks are logged.
    """
    names = tuple(names)
    if names and os.getcwd() not in sys.path:
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


async def call_plugins(plugins: Iterable[Plugin], server: Host) -> None:
    """Call plugins in order with the server. Raises ``ConfigFaults`` for the first that raises.

    One whose parameter is named ``manager`` gets the ``WebSocketManager``: plugins written
    before there was a ``Server`` go on working.
    """
    for name, function in plugins:
        try:
            result = function(server.manager if _wants_manager(function) else server)
            if inspect.isawaitable(result):
                await result
        except Exception as error:  # as above
            log.debug("plugin failed name=%s", name, exc_info=True)
            raise ConfigFaults([_fault(name, "failed", error)]) from None
        log.info("plugin called name=%s", name)


def _wants_manager(function: Callable[[Any], Any]) -> bool:
    try:
        first = next(iter(inspect.signature(function).parameters), "")
    except ValueError:  # a function of C without a signature
        return False
    return first == "manager"


def _find(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return attrgetter(attribute)(importlib.import_module(module))


def _fault(name: str, what: str, error: Exception) -> Fault:
    message = f"{name} {what}: {type(error).__name__}: {error} (where: with log_level debug)"
    return Fault("plugins", "start", message)
