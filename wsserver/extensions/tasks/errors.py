"""Errors of tasks."""

from __future__ import annotations

from wsserver.errors import Meaning, WsServerError


class VersionChanged(
    WsServerError, meaning=Meaning(409, None, False, "Changed by somebody else meanwhile")
):
    """The task has another version than the one expected; ``version`` is the current one."""

    def __init__(self, task_id: str, version: int) -> None:
        super().__init__(f"task {task_id} is at version {version}", version=version)


class BadTransition(
    WsServerError, meaning=Meaning(409, None, False, "Change of state not possible")
):
    """A change that the state of the task does not allow."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message, state=state)
