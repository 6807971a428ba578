"""Errors of calls."""

from __future__ import annotations

from wsserver.errors import Forbidden, Meaning, WsServerError


class CallBusy(WsServerError, meaning=Meaning(409, None, False, "Call in progress")):
    """The session or the connection has a call already; ``call_id`` is that one."""

    def __init__(self, call_id: str) -> None:
        super().__init__(f"there is a call already: {call_id}", call_id=call_id)


class BadCallState(WsServerError, meaning=Meaning(409, None, False, "Call in another state")):
    """The call is in a ``state`` in which this cannot be done."""

    def __init__(self, call_id: str, state: str) -> None:
        super().__init__(f"call {call_id} is {state}", state=state)


class NobodyToCall(WsServerError, meaning=Meaning(409, None, False, "Nobody to call")):
    """The session has no other user."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"nobody else is in session {session_id}")


class TooManyToCall(WsServerError, meaning=Meaning(409, None, False, "Too many users to call")):
    """The session has more users than a call may ring."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a call rings at most {limit} users", limit=limit)


class SignalTooLarge(WsServerError, meaning=Meaning(413, None, False, "Signal too large")):
    """A description or candidate that is larger than a signal may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a signal has at most {limit} bytes", limit=limit)


def no_access(call_id: str) -> Forbidden:
    """The error for a call of others; the same for one that does not exist."""
    return Forbidden(f"no access to call {call_id}")
