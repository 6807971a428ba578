"""Handlers of the commands of answers that grow: ``cancel_answer``, ``answer_start`` and so on."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from msgspec import UNSET

from wsserver.promise import Promise
from wsserver.protocol import commands
from wsserver.protocol.answers import (
    AnswerAppendArgs,
    AnswerCancelArgs,
    AnswerFinishArgs,
    AnswerStartArgs,
    answer_faults,
    finish_faults,
)
from wsserver.protocol.requests import read_request
from wsserver.realtime.commands.monitor_commands import actor_of
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.operations.answers import Answers


class AnswerCommands:
    """The handlers about answers: for members of a session, and for producers on the monitor."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def table(self) -> dict[str, Handler]:
        """The handlers for all endpoints by command type."""
        return {"cancel_answer": self.cancel_answer}

    def monitor_table(self) -> dict[str, Handler]:
        """The handlers for monitors by command type."""
        return {
            "answer_start": self.start,
            "answer_append": self.append,
            "answer_finish": self.finish,
            "answer_cancel": self.cancel,
        }

    async def cancel_answer(
        self, connection: ConnectionInfo, command: commands.CancelAnswer
    ) -> Answer:
        """Cancel an answer in a session that the user may enter."""
        reason = None if command.reason is UNSET else command.reason
        await self._answers.cancel_by_member(connection, command.message_id, reason)
        return "ack", {}

    async def start(self, connection: ConnectionInfo, command: commands.AnswerStart) -> Answer:
        """Begin an answer."""
        request = read_request(command.args, AnswerStartArgs, answer_faults)
        actor = actor_of(connection)
        return _result(await self._answers.start(actor, request.session_id, request))

    def append(
        self, connection: ConnectionInfo, command: commands.AnswerAppend
    ) -> Answer | Awaitable[Answer]:
        """Append text; the next command does not wait for a node that has the answer."""
        request = read_request(command.args, AnswerAppendArgs)
        outcome = self._answers.append(actor_of(connection), request.message_id, request)
        if isinstance(outcome, dict):
            return _result(outcome)
        if isinstance(outcome, Promise):
            return outcome.then(_result)
        return _result_of(outcome)

    async def finish(self, connection: ConnectionInfo, command: commands.AnswerFinish) -> Answer:
        """End an answer."""
        request = read_request(command.args, AnswerFinishArgs, finish_faults)
        actor = actor_of(connection)
        return _result(await self._answers.finish(actor, request.message_id, request))

    async def cancel(self, connection: ConnectionInfo, command: commands.AnswerCancel) -> Answer:
        """Cancel an answer."""
        request = read_request(command.args, AnswerCancelArgs)
        actor = actor_of(connection)
        return _result(await self._answers.cancel(actor, request.message_id, request))


async def _result_of(outcome: Awaitable[dict[str, Any]]) -> Answer:
    return _result(await outcome)


def _result(answer: dict[str, Any]) -> Answer:
    return "result", {"result": answer}
