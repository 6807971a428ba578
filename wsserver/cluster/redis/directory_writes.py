"""``DirectoryWrites``: sends the changes of a node's connections, many in one pipeline."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import NoScriptError

from wsserver.cluster.directory import LocalConnections
from wsserver.cluster.redis.directory_scripts import DEPART, SCRIPTS, Command, call
from wsserver.cluster.redis.link import UNREACHABLE, RedisLink

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Commands in one pipeline."""
WAITING_LIMIT = 50_000
"""Commands that may wait to be sent; further ones are not made, as while Redis is away."""

Done = Callable[[Any, bool], None]
"""Called with the result of a command, and whether Redis still had this node's connections; the
result is None if the command was not sent, or nothing is known of it."""


class _Waiting(NamedTuple):
    """A command that waits to be sent."""

    command: Command
    done: Done | None
    ended: str
    """The connection whose record is removed after it; empty: none."""


async def run_pipeline(link: RedisLink, commands: Sequence[Command]) -> list[Any]:
    """Run commands in one round trip; scripts that the server lacks are loaded, and run after it.

    Raises the first error of a command.
    """
    results = await _run(link, commands, raise_on_error=False)
    lacking = [i for i, result in enumerate(results) if isinstance(result, NoScriptError)]
    if lacking:
        for script in SCRIPTS:
            await link.commands.script_load(script)
        # Those alone: a change that was made twice would announce nothing.
        again = await _run(link, [commands[i] for i in lacking], raise_on_error=True)
        for i, result in zip(lacking, again, strict=True):
            results[i] = result
    for each in results:
        if isinstance(each, Exception):
            raise each
    return results


async def _run(link: RedisLink, commands: Sequence[Command], *, raise_on_error: bool) -> list[Any]:
    pipeline = link.commands.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    results: list[Any] = await pipeline.execute(raise_on_error=raise_on_error)
    return results


class DirectoryWrites:
    """Writes in the order of the calls, as soon as the former pipeline is answered.

    A connection's record is taken from the hub when it is sent, so that several changes of it are
    one command. ``marker``: a key that says, by its value, that Redis has not been emptied since
    all connections were entered. ``on_away`` is called with the error when Redis is away.
    """

    def __init__(
        self,
        link: RedisLink,
        local: LocalConnections,
        records: str,
        departed: str,
        marker: tuple[str, str],
        *,
        on_away: Callable[[BaseException], None],
    ) -> None:
        self._link = link
        self._records = records
        self._departed = departed
        self._marker = marker
        self._local = local
        self._queue: deque[_Waiting] = deque()
        self._changed: set[str] = set()
        self._leaving: list[str] = []
        self._has_work = asyncio.Event()
        self.is_idle = asyncio.Event()
        """Set while nothing waits to be sent or answered."""
        self.is_idle.set()
        self._on_away = on_away

    @property
    def is_full(self) -> bool:
        """Whether too much is waiting."""
        return len(self._queue) >= WAITING_LIMIT

    def changed(self, connection_id: str) -> None:
        """Write the record of a connection."""
        self._changed.add(connection_id)
        self._wake()

    def departed(self, user_id: str) -> None:
        """Note the time at which a user was handed over to other nodes."""
        self._leaving.append(user_id)
        self._wake()

    def add(self, command: Command, done: Done | None = None, *, ended: str = "") -> None:
        """Send a command after the records that were changed before it.

        ``ended``: a connection whose record is removed after the command. If this node is killed in
        between, another one finds the record, and takes out what the command has not.
        """
        self._queue.append(_Waiting(command, done, ended))
        self._wake()

    def _wake(self) -> None:
        self.is_idle.clear()
        self._has_work.set()

    async def run(self) -> None:
        """Send what there is, until cancelled."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._queue or self._changed or self._leaving:
                await self._flush()
            self.is_idle.set()

    def fail(self) -> None:
        """Answer everything that waits with None; records are entered again later."""
        self._changed.clear()
        self._leaving.clear()
        while self._queue:
            _answer(self._queue.popleft().done, None, False)

    async def _flush(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(AT_ONCE, len(self._queue)))]
        before = self._record_commands()
        commands = [*before, *(each.command for each in batch)]
        if ended := [each.ended for each in batch if each.ended]:
            commands.append(("HDEL", self._records, *ended))
        commands.append(("GET", self._marker[0]))
        try:
            results = await run_pipeline(self._link, commands)
        except UNREACHABLE as error:
            await self._link.reset()
            self._failed(error, batch)
        except Exception as error:  # connects would wait forever for a task that has ended
            log.exception("redis directory not written")
            self._failed(error, batch)
        else:
            is_kept = results[-1] == self._marker[1].encode()
            for each, answer in zip(batch, results[len(before) :], strict=False):
                _answer(each.done, answer, is_kept)

    def _failed(self, error: BaseException, batch: Sequence[_Waiting]) -> None:
        self._on_away(error)
        for each in batch:
            _answer(each.done, None, False)
        self.fail()

    def _record_commands(self) -> list[Command]:
        commands: list[Command] = []
        fields: list[str | bytes] = []
        for id_ in self._changed:
            record = self._local.record(id_)
            if record is not None:
                fields += [id_, msgspec.msgpack.encode(record)]
        if fields:
            commands.append(("HSET", self._records, *fields))
        if self._leaving:
            commands.append(call(DEPART, self._departed, self._leaving))
        self._changed.clear()
        self._leaving = []
        return commands


def _answer(done: Done | None, result: Any, is_kept: bool) -> None:
    if done is not None:
        try:
            done(result, is_kept)
        except Exception:  # one listener must not end the task for all
            log.exception("change of a connection not handled")
