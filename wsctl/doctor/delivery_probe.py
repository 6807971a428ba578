"""End-to-end test of a message: published, received, acknowledged.

It goes to a session with a random name; if the token may not join any session, to this connection.
In a session it is kept for half a minute, so that storage is tested too, and then pruned.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from websockets.exceptions import ConnectionClosed

from wsctl.doctor.background_call import BackgroundCall
from wsctl.doctor.facts import Delivery, Document, Maybe, Missing, Reply
from wsctl.doctor.http_probe import HttpProbe
from wsctl.doctor.websocket_probe import Session, close_text

TYPE = "doctor.probe"
KEPT_S = 30
_JOIN, _ACK = 11, 12


def deliver(
    http: HttpProbe,
    session: Session,
    token: str,
    connection_id: str,
    *,
    any_session: bool,
    trace: bool,
) -> Maybe[Delivery]:
    """Publish a message and wait for it; ``trace``: whether the token may read its trace."""
    session_id = f"wsctl-doctor-{secrets.token_hex(8)}"
    try:
        is_kept = any_session and _joined(session, session_id)
        target = (
            {"type": "session", "id": session_id}
            if is_kept
            else {"type": "connection", "id": connection_id}
        )
        body: dict[str, Any] = {"target": target, "type": TYPE, "data": {"probe": session_id}}
        if is_kept:
            body |= {"keep": True, "ttl_s": KEPT_S}
        return _exchange(http, session, token, body, session_id, trace)
    except ConnectionClosed as closed:
        return Missing(f"the WebSocket was {close_text(closed)[1]}")
    except TimeoutError:
        return Missing("the server did not answer a command in time")


def _joined(session: Session, session_id: str) -> bool:
    reply = session.ask(type="join_session", session_id=session_id, ref=_JOIN)
    return reply.get("type") == "session_joined"


def _exchange(
    http: HttpProbe, session: Session, token: str, body: Document, probe: str, trace: bool
) -> Maybe[Delivery]:
    began = time.monotonic()
    receiving = BackgroundCall(lambda: _receive(session, probe, began))
    answer = http.ask("POST", "/messages", token=token, body=body)
    if isinstance(answer, Missing):
        return Missing(f"refused: {answer.why}")
    if answer.status != 200:
        return Missing(f"refused: {answer.code or answer.status}")
    received = receiving.result()
    is_kept = "keep" in body
    if received is None:
        return Delivery(is_kept, answer.seconds, None)
    push, received_s = received
    acknowledged_s = _acknowledge(session, push, began)
    state = _state(http, token, push) if trace else None
    return Delivery(is_kept, answer.seconds, received_s, acknowledged_s, state)


def _receive(session: Session, probe: str, began: float) -> tuple[Document, float] | None:
    """The message and the seconds that it took; None: not in time."""
    try:
        while True:
            push = session.wait_for(type=TYPE)
            if push.get("data") == {"probe": probe}:
                return push, time.monotonic() - began
    except TimeoutError:
        return None


def _acknowledge(session: Session, push: Document, began: float) -> float | None:
    try:
        reply = session.ask(type="ack", ids=[push.get("id")], ref=_ACK)
    except TimeoutError:
        return None
    return time.monotonic() - began if reply.get("type") == "ack" else None


def _state(http: HttpProbe, token: str, push: Document) -> str | None:
    """State of the only recipient in the message's trace."""
    reply = http.ask("GET", f"/messages/{push.get('id')}", token=token)
    if not isinstance(reply, Reply) or reply.status != 200:
        return None
    recipients = reply.object.get("recipients")
    states = [
        str(each.get("state"))
        for each in (recipients if isinstance(recipients, list) else [])
        if isinstance(each, dict)
    ]
    return states[0] if states else None
