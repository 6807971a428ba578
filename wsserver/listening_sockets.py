"""Listening sockets: of one server, and of several workers on one port."""

from __future__ import annotations

import contextlib
import errno
import socket
import traceback
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from tornado.netutil import bind_sockets

from wsserver.config import ConfigFaults, Fault, Settings

BACKLOG = 4096

_FAULTS_OF_HOST = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)


def bind(settings: Settings) -> list[socket.socket]:
    """Sockets that listen, one for each address of ``host``. Raises ``ConfigFaults``."""
    try:
        return bind_sockets(settings.port, settings.host, backlog=BACKLOG)
    except OSError as error:
        raise _faults_of(settings, error) from None


def bind_groups(settings: Settings, count: int) -> list[list[socket.socket]]:
    """``count`` groups of bound sockets with ``SO_REUSEPORT``, each as of ``bind``.

    They do not listen yet: a socket whose worker has not started gets no connections. Port 0 is
    the same free port for all. Raises ``ConfigFaults``, also for a port that another server listens
    on: ``SO_REUSEPORT`` alone would share it.
    """
    probes = bind(settings)
    addresses = [(probe.family, probe.getsockname()) for probe in probes]
    close_all(probes)
    groups: list[list[socket.socket]] = []
    try:
        for _ in range(count):
            groups.append([])
            for family, address in addresses:
                groups[-1].append(_bind_shared(family, address))
    except OSError as error:
        for group in groups:
            close_all(group)
        raise _faults_of(settings, error) from None
    return groups


def inherited(descriptors: Sequence[int]) -> list[socket.socket]:
    """Sockets by descriptors that this process was started with."""
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for each in sockets:
        each.set_inheritable(False)
        each.setblocking(False)
    return sockets


def url_of(listening: socket.socket) -> str:
    """The address of a listening socket, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close sockets."""
    for each in sockets:
        each.close()


def _bind_shared(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _faults_of(settings: Settings, error: OSError) -> ConfigFaults:
    with warnings.catch_warnings():  # Tornado leaves the sockets open that it has made so far
        warnings.simplefilter("ignore", ResourceWarning)
        traceback.clear_frames(error.__traceback__)
    is_host = isinstance(error, socket.gaierror) or error.errno in _FAULTS_OF_HOST
    message = f"cannot listen on {settings.host} port {settings.port}: {error.strerror}"
    return ConfigFaults([Fault("host" if is_host else "port", "start", message)])
