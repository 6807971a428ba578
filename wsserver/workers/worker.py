"""A worker process: one server of several on the same port, started by the supervisor."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec

from wsserver.cluster.worker_identity import WorkerIdentity
from wsserver.config import ConfigFaults, Settings, secret_texts
from wsserver.lifecycle import Lifecycle, check
from wsserver.listening_sockets import close_all, inherited
from wsserver.logs import set_up_logging
from wsserver.process import (
    EXIT_OK,
    START_PATIENCE_S,
    Stops,
    handle_signals,
    run_on_loop,
    serve_prepared,
    warn_of_hosts,
)
from wsserver.workers.channel import Channel
from wsserver.workers.fleet import EXIT_CONFIG
from wsserver.workers.worker_settings import from_json

EXIT_ORPHANED = 1
LIFE_S = 5.0
"""Longest pause between two reports that the event loop runs."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker is to start: the first message of the supervisor, besides the settings."""

    worker: WorkerIdentity
    sockets: tuple[int, ...]
    """Descriptors of bound sockets."""
    dev: bool = False
    waits: bool = False
    """Whether to wait for ``go`` when everything is prepared: the predecessor is still there."""
    is_first: bool = False
    """Whether this is the first start of worker 1: a long start answers 503 ``starting``."""
    only_checks: bool = False
    """Report the faults, and end."""


def main(descriptor: int) -> int:
    """Serve as the supervisor at the other end of a socket says; returns the exit status."""
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    channel = Channel(end)
    messages: list[dict[str, Any]] = []
    while not messages and not channel.has_ended:
        messages = channel.receive(waits=True)
    if not messages:
        return EXIT_ORPHANED
    settings = from_json(messages[0]["settings"])
    options = msgspec.convert(messages[0]["options"], WorkerOptions)
    set_up_logging(
        settings.log_format,
        settings.log_level,
        secrets=secret_texts(settings),
        worker=options.worker.number,
    )
    try:
        if options.only_checks:
            check(settings, [])
            return EXIT_OK
        return run_on_loop(_serve(settings, options, channel, messages[1:]))
    except ConfigFaults as found:
        channel.send(faults=msgspec.to_builtins(found.faults))
        return EXIT_CONFIG


async def _serve(
    settings: Settings, options: WorkerOptions, channel: Channel, messages: list[dict[str, Any]]
) -> int:
    stops, go = Stops(), asyncio.Event()
    loop = asyncio.get_running_loop()
    handle_signals(loop, stops.stop, stops.hurry)
    loop.add_reader(channel.fileno(), _listen_to_supervisor, channel, stops, go)
    _handle_orders(messages, stops, go)
    sockets = inherited(options.sockets)
    try:
        run = Lifecycle.prepare(settings, sockets, options.worker)
    except BaseException:
        close_all(sockets)
        raise
    if options.waits:
        channel.send(state="prepared")
        await _either(go, stops.stop)
        if stops.stop.is_set():
            await run.close()
            return EXIT_OK

    def announce(text: str) -> None:
        if options.is_first:
            warn_of_hosts(run)
        timeout_s = settings.worker_timeout_s
        channel.send(state="accepting", url=run.url, text=text, timeout_s=timeout_s)
        run.system.service.tasks.spawn(_report_life(channel, timeout_s), name="life")

    return await serve_prepared(
        run,
        stops,
        announce,
        dev=options.dev and options.worker.number == 1,
        start_patience_s=START_PATIENCE_S if options.is_first else None,
    )


async def _report_life(channel: Channel, timeout_s: float) -> None:
    """Tell the supervisor that the event loop runs."""
    while timeout_s > 0:
        channel.report("alive")
        await asyncio.sleep(min(timeout_s / 5, LIFE_S))


def _listen_to_supervisor(channel: Channel, stops: Stops, go: asyncio.Event) -> None:
    _handle_orders(channel.receive(), stops, go)
    if channel.has_ended:  # it was killed
        asyncio.get_running_loop().remove_reader(channel.fileno())
        stops.stop.set()


def _handle_orders(messages: list[dict[str, Any]], stops: Stops, go: asyncio.Event) -> None:
    for message in messages:
        match message.get("order"):
            case "go":
                go.set()
            case "stop":
                stops.stop.set()
            case "hand_over":
                stops.is_hand_over = True
                stops.stop.set()
            case "hurry":
                stops.stop.set()
                stops.hurry.set()


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(each.wait()) for each in (first, second)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
