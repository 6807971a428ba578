"""``ConversationStore``: title, state, holder and metadata of sessions, and a log of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec

from wsserver.errors import Forbidden, NoResponder, OrganizationSet, TermChanged
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database, Late
from wsserver.storage.messages.message_rows import TransactionHook

HolderType = Literal["user", "ai"]
FIELDS = ("title", "state", "metadata", "organization_id")
"""Columns that ``change`` replaces."""
MATCHES_LIMIT = 5000
"""Sessions of a list by state or holder."""
KEPT_S = 90 * 86_400.0
"""How long changes stay in the log."""
_BATCH_ROWS = 300

_COLUMNS = (
    "session_id, title, state, holder_type, holder_id, term, last_ai, organization_id, metadata,"
    " created_at, updated_at"
)
_SELECT = (
    f"SELECT {_COLUMNS} FROM conversations"  # noqa: S608 - constants only
    " WHERE session_id IN (SELECT value FROM json_each(?))"
)
_CREATE = (
    "INSERT INTO conversations (session_id, holder_type, holder_id, last_ai, created_at,"
    " updated_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (session_id) DO NOTHING"
)
_LOG = (
    "INSERT INTO conversation_changes (session_id, at, changed_by, field, value)"
    " VALUES (?, ?, ?, ?, ?)"
)
_SELECT_TERMS = (
    "SELECT session_id, term FROM conversations"
    " WHERE session_id IN (SELECT value FROM json_each(?))"
)
_SELECT_ORGANIZATIONS = (
    "SELECT session_id, organization_id FROM conversations"
    " WHERE session_id IN (SELECT value FROM json_each(?)) AND organization_id IS NOT NULL"
)


class Holder(NamedTuple):
    """Who answers in a session."""

    type: HolderType
    id: str

    def view(self) -> dict[str, str]:
        """The holder as clients see it."""
        return {"type": self.type, "id": self.id}


class Conversation(NamedTuple):
    """A session's own state; times in seconds since the epoch, None before it was created."""

    session_id: str
    title: str | None = None
    state: str = "open"
    holder: Holder | None = None
    term: int = 0
    """Rises by 1 with each change of the holder."""
    last_ai: str | None = None
    """The AI that held the session last, or holds it."""
    organization_id: str | None = None
    metadata: str = "{}"
    """A JSON object."""
    created_at: float | None = None
    updated_at: float | None = None


class ConversationChange(NamedTuple):
    """A session before and after a change, and the names of the fields that differ."""

    before: Conversation
    after: Conversation
    fields: tuple[str, ...]
    version: int = 0
    """Of the access lists, if the organization was set."""


class SessionFilter(NamedTuple):
    """A filter of sessions by their state and holder; None: whatever it is."""

    state: str | None = None
    holder: str | None = None
    """``none``, ``ai``, ``user``, ``ai:NAME`` or ``user:ID``."""

    def admits(self, conversation: Conversation) -> bool:
        """Whether a session matches."""
        holder = conversation.holder
        names = {"none"} if holder is None else {holder.type, f"{holder.type}:{holder.id}"}
        is_held = self.holder is None or self.holder in names
        return is_held and self.state in (None, conversation.state)

    def condition(self) -> tuple[str, list[str]]:
        """The same in SQL, with its values."""
        terms, values = ["1 = 1"], []
        if self.state is not None:
            terms.append("state = ?")
            values.append(self.state)
        if self.holder == "none":
            terms.append("holder_type IS NULL")
        elif self.holder is not None:
            kind, colon, holder_id = self.holder.partition(":")
            terms.append("holder_type = ?" + (" AND holder_id = ?" if colon else ""))
            values += [kind, holder_id] if colon else [kind]
        return " AND ".join(terms), values


class HolderWish(NamedTuple):
    """A wanted change of the holder, and what must be so when it is made."""

    holder: Holder | None
    is_for_ai: bool = False
    """In place of ``holder``: the AI that held the session last, else the default one."""
    expected_term: int | None = None
    only_from: Holder | None = None
    """Only this one may give the session away; None: whoever holds it."""


class ConversationStore:
    """The tables ``conversations`` and ``conversation_changes``.

    Sessions are created by their first message or member, too (``ensure``). ``default_ai``: the AI
    that holds new sessions. All methods raise ``StorageUnavailable``; those that write also
    ``StorageFull``, and then nothing is stored.
    """

    def __init__(self, database: Database, default_ai: str | None = None) -> None:
        self._database = database
        self._default_ai = default_ai

    async def find(self, session_ids: Sequence[str]) -> dict[str, Conversation]:
        """Sessions by id; those that do not exist are left out."""
        return await self._database.read(partial(find, session_ids=session_ids))

    async def matching(self, wanted: SessionFilter) -> list[str]:
        """Ids of sessions by state and holder: the ``MATCHES_LIMIT`` that were changed last."""
        condition, values = wanted.condition()
        query = (
            f"SELECT session_id FROM conversations WHERE {condition}"  # noqa: S608 - from constants
            " ORDER BY updated_at DESC, session_id LIMIT ?"
        )
        rows = await self._database.read(
            lambda db: db.execute(query, [*values, MATCHES_LIMIT]).fetchall()
        )
        return [session_id for (session_id,) in rows]

    async def organizations(self, session_ids: Sequence[str]) -> dict[str, str]:
        """The organizations that were set for sessions; those without one are left out."""
        return await self._database.read(partial(_organizations, session_ids=session_ids))

    async def change(
        self,
        session_id: str,
        values: Mapping[str, str | None],
        by: str,
        at: float,
        number: Callable[[Connection], int],
        late: Late[ConversationChange] | None = None,
    ) -> ConversationChange:
        """Replace fields (``FIELDS``; ``metadata`` as JSON), creating a session that is new.

        ``number``: numbers a change of the access lists, if the organization is set. ``late``: see
        ``Database.run``. Raises ``OrganizationSet`` where another organization was set before.
        """
        return await self._database.run(
            partial(
                _change,
                session_id=session_id,
                values=values,
                by=by,
                at=at,
                number=number,
                default_ai=self._default_ai,
            ),
            late,
        )

    async def hold(
        self,
        session_id: str,
        wish: HolderWish,
        by: str,
        at: float,
        late: Late[ConversationChange] | None = None,
    ) -> ConversationChange:
        """Change the holder, creating a session that is new; the term rises if it is another one.

        ``late``: see ``Database.run``. Raises ``TermChanged`` where the term is not the expected
        one, ``NoResponder`` without an AI to give the session to, ``Forbidden`` where somebody else
        holds it.
        """
        return await self._database.run(
            partial(
                _hold,
                session_id=session_id,
                wish=wish,
                by=by,
                at=at,
                default_ai=self._default_ai,
            ),
            late,
        )

    async def require_term(self, session_id: str, term: int) -> None:
        """Raise ``TermChanged`` for a session in another term; one that is new is in term 0."""
        await self._database.read(partial(require_term, session_id=session_id, term=term))

    async def prune(self, now: float) -> int:
        """Delete changes older than ``KEPT_S`` from the log, in batches; returns their number."""
        count = 0
        while deleted := await self._database.run(partial(_prune, before=now - KEPT_S)):
            count += deleted
        return count


def log_visits(db: Connection, visits: Sequence[tuple[str, float, str, str]]) -> None:
    """Add visits to the logs of sessions: session, time, user, ``joined`` or ``left``."""
    db.insert(
        "conversation_changes",
        "session_id, at, changed_by, field, value",
        [
            (session_id, at, user_id, field, msgspec.json.encode(user_id).decode())
            for session_id, at, user_id, field in visits
        ],
    )


def ensure(db: Connection, created: Mapping[str, float], default_ai: str | None = None) -> None:
    """Create the sessions that do not exist; ``created``: their times."""
    kind = None if default_ai is None else "ai"
    db.executemany(
        _CREATE,
        [
            (id_, kind, default_ai, default_ai, created[id_], created[id_])
            for id_ in sorted(created)
        ],
    )


def log_change(
    db: Connection, session_id: str, at: float, by: str, values: Mapping[str, Any]
) -> None:
    """Add what has changed to the log of a session; ``values`` by field, as they are now."""
    db.executemany(
        _LOG,
        [
            (session_id, at, by, field, msgspec.json.encode(value).decode())
            for field, value in values.items()
        ],
    )


def terms(db: Connection, session_ids: Sequence[str]) -> dict[str, int]:
    """The terms of existing sessions."""
    return dict(db.execute(_SELECT_TERMS, [db.listed(session_ids)]).fetchall())


def require_term(db: Connection, session_id: str, term: int) -> None:
    """Raise ``TermChanged`` for a session in another term."""
    now = terms(db, [session_id]).get(session_id, 0)
    if now != term:
        raise TermChanged(now)


def in_term(session_id: str, term: int) -> TransactionHook:
    """Refuses a message that would be stored while its session is in another term."""
    return TransactionHook(
        partial(require_term, session_id=session_id, term=term), lambda db, checked, place: None
    )


def find(db: Connection, session_ids: Sequence[str]) -> dict[str, Conversation]:
    """Existing sessions by id."""
    return {each.session_id: each for each in _read(db, session_ids)}


def _read(db: Connection, session_ids: Sequence[str]) -> Iterable[Conversation]:
    for id_, title, state, holder_type, holder_id, *rest in db.execute(
        _SELECT, [db.listed(session_ids)]
    ).fetchall():
        holder = None if holder_type is None else Holder(holder_type, holder_id)
        yield Conversation(id_, title, state, holder, *rest)


def _organizations(db: Connection, session_ids: Sequence[str]) -> dict[str, str]:
    return dict(db.execute(_SELECT_ORGANIZATIONS, [db.listed(session_ids)]).fetchall())


def _existing(db: Connection, session_id: str, at: float, default_ai: str | None) -> Conversation:
    ensure(db, {session_id: at}, default_ai)
    (found,) = _read(db, [session_id])
    return found


def _change(
    db: Connection,
    session_id: str,
    values: Mapping[str, str | None],
    by: str,
    at: float,
    number: Callable[[Connection], int],
    default_ai: str | None,
) -> ConversationChange:
    # Before anything is read: other servers that number a change wait for this one.
    version = number(db) if "organization_id" in values else 0
    before = _existing(db, session_id, at, default_ai)
    organization_id = values.get("organization_id")
    if organization_id is not None and before.organization_id not in (None, organization_id):
        raise OrganizationSet(before.organization_id or "")
    after = before._replace(**values)  # type: ignore[arg-type]
    changed = tuple(name for name in FIELDS if getattr(before, name) != getattr(after, name))
    if not changed:
        return ConversationChange(before, before, (), version)
    after = after._replace(updated_at=at)
    db.execute(
        "UPDATE conversations SET title = ?, state = ?, metadata = ?, organization_id = ?,"
        " updated_at = ? WHERE session_id = ?",
        [after.title, after.state, after.metadata, after.organization_id, at, session_id],
    )
    new = {name: getattr(after, name) for name in changed}
    if "metadata" in new:
        new["metadata"] = msgspec.Raw(after.metadata.encode())
    log_change(db, session_id, at, by, new)
    return ConversationChange(before, after, changed, version)


def _hold(
    db: Connection,
    session_id: str,
    wish: HolderWish,
    by: str,
    at: float,
    default_ai: str | None,
) -> ConversationChange:
    before = _existing(db, session_id, at, default_ai)
    if wish.expected_term is not None and wish.expected_term != before.term:
        raise TermChanged(before.term)
    if wish.only_from is not None and wish.only_from != before.holder:
        raise Forbidden(f"session {session_id} is not yours to release")
    holder = wish.holder
    if wish.is_for_ai:
        name = before.last_ai or default_ai
        if name is None:
            raise NoResponder
        holder = Holder("ai", name)
    if holder == before.holder:
        return ConversationChange(before, before, ())
    ai = holder.id if holder is not None and holder.type == "ai" else before.last_ai
    after = before._replace(holder=holder, term=before.term + 1, last_ai=ai, updated_at=at)
    kind, id_ = (None, None) if holder is None else holder
    db.execute(
        "UPDATE conversations SET holder_type = ?, holder_id = ?, term = ?, last_ai = ?,"
        " updated_at = ? WHERE session_id = ?",
        [kind, id_, after.term, ai, at, session_id],
    )
    shown = None if holder is None else holder.view()
    former = None if before.holder is None else before.holder.view()
    change = {"holder": shown, "term": after.term, "former": former}
    log_change(db, session_id, at, by, {"holder": change})
    return ConversationChange(before, after, ("holder", "term"))


def _prune(db: Connection, before: float) -> int:
    return db.execute(
        "DELETE FROM conversation_changes WHERE id IN"
        " (SELECT id FROM conversation_changes WHERE at < ? ORDER BY at LIMIT ?)",
        [before, _BATCH_ROWS],
    ).rowcount
