"""The plan of a replay: what is done when, made from a recording. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wsctl.times import epoch

KIND = "wsserver-recording"
FORMAT = 1
NOT_SENT = frozenset({"pong", "refresh_token"})
"""Commands that are not replayed: pings are answered as they come, and tokens are not recorded."""
_TYPING = "typing"
_MESSAGE = "new_message"
_SENDER = ("user_id", "username", "role")


class NotARecording(Exception):
    """A file that ``wsctl record`` has not written."""


@dataclass(frozen=True)
class Connection:
    """A recorded connection: whom to connect as, and to which endpoint."""

    connection_id: str
    user_id: str
    role: str
    organization_id: str | None
    endpoint: str
    session_id: str | None
    protocol: str

    @property
    def path(self) -> str:
        """Of the WebSocket endpoint."""
        if self.endpoint == "session" and self.session_id:
            return f"/ws/chat/session/{self.session_id}"
        return "/ws/admin/monitor" if self.endpoint == "monitor" else "/ws/chat"


Action = Literal["connect", "send", "reply", "close", "publish"]


@dataclass(frozen=True)
class Step:
    """One thing to do."""

    at_s: float
    """Seconds since the beginning of the recording."""
    action: Action
    connection: str = ""
    frame: Mapping[str, Any] = field(default_factory=dict)
    """The command to send; the reply to wait for; of a publication the push that was recorded."""


@dataclass(frozen=True)
class Plan:
    """A recording as a list of steps, and the replies that there were."""

    connections: Mapping[str, Connection]
    steps: Sequence[Step]
    replies: Mapping[tuple[str, Any], Mapping[str, Any]]
    """By connection and ref."""

    @property
    def lasts_s(self) -> float:
        """From the first step to the last one."""
        return self.steps[-1].at_s if self.steps else 0.0


def read_plan(document: Any, *, publish: bool = True, longest_pause_s: float = 0.0) -> Plan:
    """The plan of a recording; raises ``NotARecording``.

    ``publish``: also what came from users who were not recorded. ``longest_pause_s``: longer ones
    are cut; 0: none.
    """
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise NotARecording("it is not what wsctl record writes")
    if document.get("format") != FORMAT:
        raise NotARecording(f"its format is not {FORMAT}: it is of another version")
    connections = {each.connection_id: each for each in _connections(document)}
    events = [e for e in _objects(document.get("events")) if e.get("connection") in connections]
    recorded = {each.user_id for each in connections.values()}
    steps: list[tuple[float, Step]] = []
    replies: dict[tuple[str, Any], Mapping[str, Any]] = {}
    opened: set[str] = set()
    published: set[Any] = set()
    for event in events:
        at, id_ = epoch(event.get("at")), str(event["connection"])
        if at is None:
            continue
        type_, direction = event.get("type"), event.get("dir")
        frame = event["frame"] if isinstance(event.get("frame"), dict) else {}
        if id_ not in opened:  # it was open already when the recording began
            opened.add(id_)
            steps.append((at, Step(0.0, "connect", id_)))
        if direction == "client" and type_ == "close":
            steps.append((at, Step(0.0, "close", id_)))
        elif direction == "out" and frame and type_ not in NOT_SENT:
            steps.append((at, Step(0.0, "send", id_, frame)))
        elif direction == "in" and _ref(frame) is not None:
            replies[id_, _ref(frame)] = frame
            steps.append((at, Step(0.0, "reply", id_, frame)))
        elif direction == "in" and publish and _is_from_elsewhere(frame, recorded):
            key = _identity(frame)
            if key not in published:
                published.add(key)
                steps.append((at, Step(0.0, "publish", id_, frame)))
    return Plan(connections, list(_timed(steps, longest_pause_s)), replies)


def publication(step: Step, user_id: str) -> tuple[str, dict[str, Any]] | None:
    """The target and the body that publish a recorded push over REST; None: it cannot be."""
    frame = step.frame
    type_, session_id = frame.get("type"), frame.get("session_id")
    if type_ == _MESSAGE and isinstance(session_id, str):
        message = frame["message"]
        sender = message.get("sender") or {}
        body = {
            "type": _MESSAGE,
            "content": message.get("content"),
            "sender": {name: sender[name] for name in _SENDER if sender.get(name)},
        }
        if message.get("content_type"):
            body["content_type"] = message["content_type"]
        return f"/sessions/{session_id}/messages", body
    if type_ == _TYPING and isinstance(session_id, str):
        who = {name: frame[name] for name in ("user_id", "is_typing") if name in frame}
        return f"/sessions/{session_id}/messages", {"type": _TYPING, **who}
    if "data" in frame and isinstance(type_, str):
        target = f"/sessions/{session_id}" if isinstance(session_id, str) else f"/users/{user_id}"
        body = {"type": type_, "data": frame["data"], "keep": "offset" in frame}
        return f"{target}/messages", body
    return None


def _is_from_elsewhere(frame: Mapping[str, Any], recorded: set[str]) -> bool:
    """Whether a push came from a user whose own commands are not in the recording."""
    type_ = frame.get("type")
    if type_ == _MESSAGE:
        message = frame.get("message")
        if not isinstance(message, dict) or message.get("deleted") or "state" in message:
            return False
        sender = message.get("sender")
        return isinstance(sender, dict) and sender.get("user_id") not in recorded
    if type_ == _TYPING:
        return frame.get("user_id") not in recorded
    # Other types with data are those that backends publish.
    return "data" in frame and isinstance(type_, str)


def _identity(frame: Mapping[str, Any]) -> Any:
    """What several connections that got the same push have in common."""
    if isinstance(frame.get("id"), str):
        return frame["id"]
    return tuple(frame.get(name) for name in ("type", "session_id", "user_id", "timestamp"))


def _timed(steps: list[tuple[float, Step]], longest_pause_s: float) -> Iterator[Step]:
    steps.sort(key=lambda pair: pair[0])
    at_s, before = 0.0, steps[0][0] if steps else 0.0
    for at, step in steps:
        pause = at - before
        at_s += min(pause, longest_pause_s) if longest_pause_s else pause
        before = at
        yield Step(at_s, step.action, step.connection, step.frame)


def _connections(document: Mapping[str, Any]) -> Iterator[Connection]:
    for each in _objects(document.get("connections")):
        id_, user_id = each.get("connection_id"), each.get("user_id")
        if isinstance(id_, str) and isinstance(user_id, str):
            yield Connection(
                id_,
                user_id,
                str(each.get("role") or "user"),
                _text(each.get("organization_id")),
                str(each.get("endpoint") or "chat"),
                _text(each.get("session_id")),
                str(each.get("protocol") or "plain"),
            )


def _ref(frame: Mapping[str, Any]) -> Any:
    ref = frame.get("ref")
    return ref if isinstance(ref, str | int) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))
