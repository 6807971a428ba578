"""``Supervisor``: starts the workers of ``wsserver serve --workers N``, and restarts what ends.

``Fleet`` decides; this loop waits for signals, messages of workers and ends of processes. It serves
no connection and uses no event loop, so that little can go wrong in it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wsserver.cluster.worker_identity import WorkerIdentity
from wsserver.config import ConfigFaults, Fault, Settings
from wsserver.fd_limits import raise_descriptor_limit
from wsserver.listening_sockets import bind_groups, close_all, url_of
from wsserver.workers import fleet
from wsserver.workers.channel import Channel
from wsserver.workers.fleet import EXIT_FAILED, Action, Fleet
from wsserver.workers.valkey import PrivateValkey, ValkeyFailed
from wsserver.workers.worker_settings import to_json, worker_names, worker_settings

log = logging.getLogger(__name__)

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
WITHOUT_EFFECT = ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR")
AFTER_FAILURE_S = 1.0
"""Pause after an error of the supervisor itself, which is logged and goes on."""
LONGEST_WAIT_S = 5.0
STOOD_STILL_S = 1.0
"""By how much a wait that takes longer shows that this process, and its workers, stood still."""
LAST_READS = 10
"""Of the channel of a process that has ended; a child of it may hold the other end open."""

FIXED = ("host", "port", "workers", "node", "data_dir", "database", "database_url", "redis_url")
"""Settings that a rolling restart does not change: the workers have them in common."""


@dataclass(eq=False)
class Worker:
    """A process that runs."""

    number: int
    instance: str
    process: subprocess.Popen[bytes]
    channel: Channel
    faults: list[Fault] = field(default_factory=list)


class Supervisor:
    """Runs the workers until a signal. ``read_settings`` reads them again for a rolling restart."""

    def __init__(
        self,
        settings: Settings,
        read_settings: Callable[[], Settings],
        *,
        dev: bool = False,
    ) -> None:
        self._settings = settings
        self._read_settings = read_settings
        self._dev = dev
        self._fleet = Fleet(settings.workers, settings.drain_timeout_s)
        self._groups: list[list[socket.socket]] = []
        self._valkey: PrivateValkey | None = None
        self._redis_url = settings.redis_url
        self._workers: dict[int, Worker] = {}
        self._ended_instances: dict[int, str] = {}
        """Worker's number → instance of its latest process in the cluster."""
        self._faults: list[Fault] = []
        self._url = self._text = ""
        self._has_terminal = _has_terminal()
        self._exit_status: int | None = None
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wakeup_end = socket.socketpair()

    def run(self) -> int:
        """Run until everything has ended; returns the exit status. Raises ``ConfigFaults``."""
        raise_descriptor_limit()
        self._handle_signals()
        try:
            self._prepare()
            self._do(self._fleet.start(time.monotonic()))
            while self._exit_status is None:
                try:
                    self._turn()
                except Exception:  # the workers go on, and so has their supervisor
                    log.exception("supervisor failed")
                    time.sleep(AFTER_FAILURE_S)
        except ValkeyFailed as error:
            log.error("private valkey does not start reason=%s", error)
            return EXIT_FAILED
        finally:
            self._close()
        if self._faults:
            raise ConfigFaults(self._faults)
        log.info("stopped")
        return self._exit_status

    # Start and end

    def _prepare(self) -> None:
        """Bind the sockets, start Valkey; raises ``ConfigFaults`` with everything wrong."""
        faults: list[Fault] = []
        try:
            self._groups = bind_groups(self._settings, self._settings.workers)
            self._url = url_of(self._groups[0][0])
        except ConfigFaults as found:
            faults += found.faults
        if self._settings.redis_url is None:
            try:
                self._valkey = PrivateValkey(self._settings.data_dir)
                if not faults:
                    self._valkey.start()
                    self._redis_url = self._valkey.url
            except ConfigFaults as found:
                faults += found.faults
        if faults:
            raise ConfigFaults([*self._faults_of_worker(), *faults])

    def _faults_of_worker(self) -> list[Fault]:
        """What a worker finds wrong besides, as plugins and templates."""
        worker = self._spawn(1, only_checks=True)
        while not worker.channel.has_ended:
            self._read(worker, waits=True)
        worker.channel.close()
        worker.process.wait()
        return worker.faults

    def _close(self) -> None:
        """End what still runs, the workers before Valkey."""
        for worker in self._workers.values():
            worker.channel.close()  # as if this process had been killed: they drain
        deadline = time.monotonic() + self._settings.drain_timeout_s + fleet.GRACE_S
        for worker in self._workers.values():
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        if self._valkey is not None:
            self._valkey.stop()
        for group in self._groups:
            close_all(group)
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wakeup.close()
        self._wakeup_end.close()

    # Events

    def _turn(self) -> None:
        """Wait for events, and handle them."""
        now = time.monotonic()
        dues = [self._fleet.due, self._valkey.due if self._valkey is not None else None]
        wait_s = min([LONGEST_WAIT_S, *(due - now for due in dues if due is not None)])
        for key, _ in self._selector.select(max(0.0, wait_s)):
            if key.data is None:
                self._read_signals()
            elif key.data in self._workers:
                self._read_messages(key.data)
        began, now = now, time.monotonic()
        if now - began > max(0.0, wait_s) + STOOD_STILL_S:
            self._fleet.resumed(now)
        for id_, worker in list(self._workers.items()):
            status = worker.process.poll()
            if status is not None:
                self._ended(id_, worker, status)
        self._do(self._fleet.tick(now))
        if self._valkey is not None:
            self._valkey.watch(now)

    def _read_signals(self) -> None:
        for number in self._wakeup.recv(4096):
            now = time.monotonic()
            if number in STOPPING:
                if not self._fleet.is_stopping:
                    log.info("stopping")
                self._do(self._fleet.stop(now))
            elif number == signal.SIGHUP:
                if self._has_terminal and not _has_terminal():  # it was closed
                    if not self._fleet.is_stopping:
                        self._do(self._fleet.stop(now))
                else:
                    self._reload()
            elif number != signal.SIGCHLD:
                name = signal.Signals(number).name
                log.warning("signal has no effect, SIGTERM stops the server signal=%s", name)

    def _read_messages(self, id_: int) -> None:
        worker = self._workers[id_]
        for message in self._read(worker):
            now = time.monotonic()
            match message.get("state"):
                case "prepared":
                    self._do(self._fleet.prepared(id_, now))
                case "alive":
                    self._fleet.alive(id_, now)
                case "accepting":
                    log.info("worker accepts connections worker=%d", worker.number)
                    self._text = message["text"] or self._text
                    timeout_s = message.get("timeout_s") or math.inf
                    self._do(self._fleet.accepting(id_, now, timeout_s))
        if worker.channel.has_ended:  # the end of the process follows
            self._forget_channel(worker)

    def _forget_channel(self, worker: Worker) -> None:
        """Wait for no more messages; before it is closed, as the next one may get its number."""
        if worker.channel.fileno() in self._selector.get_map():
            self._selector.unregister(worker.channel)

    def _read(self, worker: Worker, *, waits: bool = False) -> list[dict[str, Any]]:
        """The messages of a worker; its faults are kept with it."""
        messages = worker.channel.receive(waits=waits)
        for message in messages:
            worker.faults += msgspec.convert(message.get("faults", []), list[Fault])
        return messages

    def _ended(self, id_: int, worker: Worker, status: int) -> None:
        for _ in range(LAST_READS):
            if worker.channel.has_ended:
                break
            self._read_messages(id_)
        del self._workers[id_]
        self._forget_channel(worker)
        worker.channel.close()
        if self._fleet.is_stopping:
            close_all(self._groups[worker.number - 1])  # else clients would wait in its queue
        self._do(self._fleet.ended(id_, status, time.monotonic()))
        if self._fleet.is_stopping and not self._fleet.has_accepted:
            self._faults += [fault for fault in worker.faults if fault not in self._faults]
            return
        for fault in worker.faults:
            log.error("worker has a fault worker=%d fault=%s", worker.number, fault)

    def _reload(self) -> None:
        """Begin a rolling restart with the settings as they are now."""
        if not self._fleet.has_accepted:
            log.warning("reload refused, not all workers accept connections yet")
            return
        try:
            settings = self._read_settings()
        except ConfigFaults as found:
            for fault in found.faults:
                log.error("settings not read again, the workers go on fault=%s", fault)
            return
        kept = {key: getattr(self._settings, key) for key in FIXED}
        for key, value in kept.items():
            if getattr(settings, key) != value:
                log.warning("setting changes at the next start only key=%s", key)
        self._settings = msgspec.structs.replace(settings, **kept)
        self._do(self._fleet.reload(time.monotonic(), settings.drain_timeout_s))

    # Actions

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case fleet.Start():
                    self._start(action)
                case fleet.Send():
                    self._send(action)
                case fleet.Kill():
                    worker = self._workers.get(action.process)
                    if worker is not None:
                        log.error(
                            "worker is killed worker=%d reason=%s", worker.number, action.reason
                        )
                        worker.process.kill()
                case fleet.Announce():
                    _say(f"listening on {self._url}\n{self._text}")
                case fleet.Exit():
                    self._exit_status = action.status

    def _start(self, action: fleet.Start) -> None:
        number = action.number
        try:
            worker = self._spawn(number, waits=action.waits)
        except OSError as error:  # no process or descriptor left
            log.error("worker not started worker=%d error=%s", number, error)
            self._do(self._fleet.ended(action.process, EXIT_FAILED, time.monotonic()))
            return
        self._workers[action.process] = worker
        self._selector.register(worker.channel, selectors.EVENT_READ, action.process)
        if not action.waits:
            self._ended_instances[number] = worker.instance
        log.info("worker started worker=%d pid=%d", number, worker.process.pid)

    def _send(self, action: fleet.Send) -> None:
        worker = self._workers.get(action.process)
        if worker is None:
            return
        if action.order == "go":
            self._ended_instances[worker.number] = worker.instance
        worker.channel.send(order=action.order)

    def _spawn(self, number: int, *, waits: bool = False, only_checks: bool = False) -> Worker:
        """Start a process; its settings go through the channel, where nobody else sees them."""
        group = [] if only_checks else self._groups[number - 1]
        identity = WorkerIdentity(
            number,
            worker_names(self._settings),
            secrets.token_hex(8),
            self._ended_instances.get(number),
        )
        settings = worker_settings(self._settings, number, self._redis_url)
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = [each.fileno() for each in group]
            command = [*_python(), "-m", "wsserver.workers", settings.node, str(theirs.fileno())]
            try:
                process = subprocess.Popen(  # noqa: S603 - own program
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), *descriptors],
                    process_group=0,  # a Ctrl-C is not for it: it is stopped in order
                )
            except BaseException:
                ours.close()
                raise
        worker = Worker(number, identity.instance, process, Channel(ours))
        options = {
            "worker": identity,
            "sockets": descriptors,
            "dev": self._dev,
            "waits": waits,
            "is_first": number == 1 and identity.predecessor is None and not waits,
            "only_checks": only_checks,
        }
        worker.channel.send(settings=to_json(settings), options=options)
        return worker

    def _handle_signals(self) -> None:
        """Have the numbers of signals written to a socket that ``_turn`` waits for."""
        for end in (self._wakeup, self._wakeup_end):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_end.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        names = [getattr(signal, name, None) for name in WITHOUT_EFFECT]
        for number in (*STOPPING, signal.SIGCHLD, *filter(None, names)):
            signal.signal(number, _nothing)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, _nothing)


def _python() -> list[str]:
    """The interpreter; it looks for modules in the working folder only if this process does."""
    looks_here = sys.path[:1] == [""] or sys.path[:1] == [os.getcwd()]
    return [sys.executable] if looks_here else [sys.executable, "-P"]


def _nothing(*_: object) -> None:
    """Handler of signals: their numbers go to the wakeup descriptor."""


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    """Write to stderr; a closed one is ignored."""
    with contextlib.suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)
