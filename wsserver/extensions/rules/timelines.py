"""Reads the facts about a session from storage: messages, answers, visits and changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from wsserver.extensions.rules.model import (
    Answered,
    Closed,
    Fact,
    Held,
    Said,
    Timeline,
    Visit,
)
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.conversations import Conversation, find
from wsserver.storage.messages.message_rows import LAST_OFFSET, SESSION, key_of, stream_row

MESSAGES_LIMIT = 5000
"""The latest messages of a session that are looked at."""
CHANGES_LIMIT = 5000
"""The latest visits and changes of a session that are looked at."""
_STARTS_LIMIT = 1000
_WHOLE_BYTES = 16_384

# Of large messages the role of the sender is that of the publisher, so they need not be read.
_MESSAGES = (
    "SELECT message_id, at, sender, json_extract(origin, '$.role'),"  # noqa: S608 - constants only
    f" CASE WHEN length(payload) <= {_WHOLE_BYTES} THEN payload END"
    " FROM messages WHERE key > ? AND key <= ? AND at >= ? AND type = 'new_message'"
    " AND deleted_at IS NULL ORDER BY key DESC LIMIT ?"
)
_ANSWERS = (
    "SELECT message_id, started_at, first_text_at, last_text_at, ended_at, state, stalls"
    " FROM answers WHERE message_id IN (SELECT value FROM json_each(?))"
)
_CHANGES = (
    "SELECT at, field, value FROM conversation_changes WHERE session_id = ?"
    " AND (field = 'joined' OR field = 'left' OR field = 'holder' OR field = 'state')"
    " ORDER BY id DESC LIMIT ?"
)
_STARTS = (
    "SELECT at FROM conversation_changes WHERE session_id = '' AND field = 'started'"
    " ORDER BY id DESC LIMIT ?"
)


class _Sender(Struct):
    user_id: str
    username: str | None = None
    role: str | None = None


class _Message(Struct):
    sender: _Sender | None = None


class _Push(Struct):
    message: _Message


class _Stall(Struct):
    at: float
    ms: int


_decode_push = msgspec.json.Decoder(_Push).decode
_decode_stalls = msgspec.json.Decoder(list[_Stall]).decode


def read_timeline(
    db: Connection, session_id: str, since: float, limit: int = MESSAGES_LIMIT
) -> Timeline | None:
    """The facts about a session with messages from a time on; None: there is no such session.

    Visits and changes from before that time are among them, as they may still hold.
    """
    conversation = find(db, [session_id]).get(session_id)
    if conversation is None:
        return None
    facts = list(_said(db, session_id, since, limit))
    changes = db.execute(_CHANGES, [session_id, CHANGES_LIMIT]).fetchall()
    changes.reverse()
    held_before = _held_before(changes, conversation)
    facts += _changed(changes)
    facts += [Visit(at, None, False) for (at,) in db.execute(_STARTS, [_STARTS_LIMIT]).fetchall()]
    facts.sort(key=lambda fact: fact.at)
    return Timeline(session_id, conversation.organization_id, facts, held_before)


def _said(db: Connection, session_id: str, since: float, limit: int) -> Iterator[Fact]:
    row = stream_row(db, SESSION + session_id)
    if row is None:
        return
    keys = [key_of(row.id, 0), key_of(row.id, LAST_OFFSET)]
    rows = db.execute(_MESSAGES, [*keys, since, limit]).fetchall()
    ids = [message_id for message_id, *_ in rows]
    answers = {id_: rest for id_, *rest in db.execute(_ANSWERS, [db.listed(ids)]).fetchall()}
    latest = 0.0
    for message_id, at, sender, role, payload in reversed(rows):
        latest = max(latest, at)  # the order of a stream counts, not the clocks of servers
        who = _sender(payload) or _Sender(sender or "", None, role)
        if message_id not in answers:
            yield Said(latest, message_id, who.user_id, who.username, who.role)
            continue
        started_at, first_at, last_at, ended_at, state, stalls = answers[message_id]
        pauses = [(each.at, each.at + each.ms / 1000) for each in _decode_stalls(stalls)]
        yield Answered(
            at=started_at,
            message_id=message_id,
            user_id=who.user_id,
            username=who.username,
            first_text_at=first_at,
            last_text_at=last_at,
            ended_at=ended_at,
            state=state,
            stalls=pauses,
        )


def _sender(payload: bytes | None) -> _Sender | None:
    return None if payload is None else _decode_push(payload).message.sender


def _changed(changes: Iterable[Any]) -> Iterator[Fact]:
    for at, field, text in changes:
        value = msgspec.json.decode(text)
        if field == "holder":
            yield Held(at, _is_person(value["holder"]))
        elif field != "state":
            yield Visit(at, value, field == "joined")
        elif value == "closed":
            yield Closed(at)


def _held_before(changes: Iterable[Any], conversation: Conversation) -> bool:
    """Whether a person held the session before the first change of the holder."""
    for _, field, text in changes:
        if field == "holder":
            return _is_person(msgspec.json.decode(text).get("former"))
    return conversation.holder is not None and conversation.holder.type == "user"


def _is_person(holder: dict[str, str] | None) -> bool:
    return holder is not None and holder["type"] == "user"
