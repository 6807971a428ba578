"""Test cases of tenant isolation: answers by role and route for own and foreign objects.

``python -m tests.support.tenant_matrix`` prints it. Managers have every permission here: it is
their organization that confines them, not their row in the table of roles.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.built_in import ALL_PERMISSIONS
from tests.support.http_response import Response
from tests.support.web_server import API, Server, start, token

ROLES = ("admin", "service", "manager", "user")
PERMISSIONS = {"manager": tuple(sorted(ALL_PERMISSIONS))}
PLACES = ("own", "own absent", "foreign", "foreign absent", "unknown", "no organization")
OWN, OUTSIDE = PLACES[:2], PLACES[2:]

Body = dict[str, Any]
Ask = Callable[[str], tuple[str, Body | None]]
"""From an id to the path with its query, and the body; None: a request without one."""


class Case(NamedTuple):
    """A request that names something, in its path, query or body."""

    kind: str
    method: str
    name: str
    """The route, with X for what is named."""
    ask: Ask
    outside: int
    """What a manager gets for something outside."""


def case(kind: str, outside: int, route: str, body: Body | None = None) -> Case:
    """A case from its route and body, with X for the id of the object."""
    method, _, path = route.partition(" ")
    shown = "" if body is None else f"  {_short(body)}"

    def ask(id_: str) -> tuple[str, Body | None]:
        filled = path.replace("X", id_)
        if body is None:
            return filled, None
        text = _text(body).replace('"X"', f'"{id_}"').replace(':X"', f':{id_}"')
        return filled, json.loads(text)

    return Case(kind, method, f"{method} {path}{shown}", ask, outside)


def _text(body: Body) -> str:
    return json.dumps(body)


def _short(body: Body) -> str:
    """The fields of a body that name something."""
    named = [name for name, value in body.items() if "X" in _text({"": value}).split('"')]
    kind = body["target"]["type"] if "target" in named else None
    return " ".join([*named, *([] if kind is None else [kind])])


NOTE = {"type": "note", "data": 1}
TEXT = {"title": "t", "message": "m"}
QUOTA: Body = {"limit": 9, "unit": "tokens", "period": "day"}
TASK: Body = {"title": "t", "steps": []}
BEFORE: Body = {"since": "2024-01-15T14:30:00Z"}


def _everywhere(kind: str) -> list[Case]:
    """The routes that take a target."""
    target = {"target": {"type": kind, "id": "X"}, **NOTE}
    return [
        case(kind, 403, "POST /messages", target),
        case(kind, 403, "POST /messages/explain", target),
        case(kind, 403, "POST /messages/batch", {"messages": [target]}),
    ]


IN_OURS = {"target": {"type": "session", "id": "s_mine"}}
CASES: tuple[Case, ...] = (
    case("user", 403, "GET /connections?user_id=X"),
    case("user", 404, "GET /users/X/connections"),
    case("user", 404, "GET /users/X/conversations"),
    case("user", 404, "GET /users/X/data"),
    case("user", 404, "GET /users/X/unread"),
    case("user", 404, "PUT /users/X/chaos", {"delay_ms": 1, "duration_s": 1}),
    case("user", 403, "POST /recordings", {"user_id": "X", "duration_s": 1}),
    case("session", 403, "POST /recordings", {"session_id": "X", "duration_s": 1}),
    case("user", 404, "POST /ping/X", {"timeout_s": 0.01}),
    case("user", 404, "GET /users/X/contacts"),
    case("user", 404, "PUT /users/X/contacts", {"locale": "en"}),
    case("user", 404, "GET /users/X/notifications"),
    case("user", 404, "PATCH /users/X/notifications", {"ids": ["n1"], "read": True}),
    case("user", 404, "GET /users/X/preferences"),
    case("user", 404, "PATCH /users/X/preferences", {"quiet_hours": None}),
    case("user", 404, "POST /users/X/messages", NOTE),
    case("user", 404, "POST /users/X/messages", {**NOTE, "keep": True}),
    *_everywhere("user"),
    case(
        "user",
        403,
        "POST /messages",
        {**IN_OURS, "type": "new_message", "content": "c", "sender": {"user_id": "X"}},
    ),
    case(
        "user",
        403,
        "POST /messages",
        {**IN_OURS, "type": "typing", "user_id": "X", "is_typing": True},
    ),
    case(
        "user",
        403,
        "POST /broadcast",
        {"type": "user_status_update", "user_id": "X", "status": "online"},
    ),
    case("user", 403, "POST /notify", {"user_ids": ["mine", "X"], **TEXT}),
    case("user", 403, "GET /notifications?user_id=X"),
    case("user", 403, "GET /export/messages?user_id=X"),
    case("user", 403, "GET /messages/{ours}?user_id=X"),
    case("user", 403, "PUT /sessions/s_mine/members", {"user_ids": ["mine", "X"]}),
    case("session", 403, "GET /connections?session_id=X"),
    case("session", 403, "GET /export/messages?session_id=X"),
    case("session", 404, "GET /sessions/X"),
    case("session", 404, "GET /sessions/X/connections"),
    case("session", 404, "GET /sessions/X/history"),
    case("session", 404, "GET /sessions/X/past"),
    case("session", 404, "GET /sessions/X/members"),
    case("session", 404, "POST /sessions/X/messages", NOTE),
    case("session", 404, "POST /sessions/X/messages", {"type": "new_message", "content": "c"}),
    *_everywhere("session"),
    case(
        "session",
        403,
        "POST /messages",
        {
            "target": {"type": "user", "id": "mine"},
            "type": "new_message",
            "content": "c",
            "session_id": "X",
        },
    ),
    case("session", 404, "POST /sessions/X/answers", {"content": "c"}),
    case("user", 403, "POST /sessions/s_mine/answers", {"sender": {"user_id": "X"}}),
    case("answer", 404, "GET /answers/X"),
    case("answer", 404, "POST /answers/X/append", {"seq": 1, "text": "c"}),
    case("answer", 404, "POST /answers/X/finish", {"state": "failed"}),
    case("other answer", 404, "POST /answers/X/cancel", {"reason": "c"}),
    case("session", 404, "PATCH /sessions/X", {"title": "T"}),
    case("session", 404, "POST /sessions/X/holder", {"holder": None}),
    case("user", 403, "POST /sessions/s_mine/holder", {"holder": {"type": "user", "id": "X"}}),
    case("session", 403, "POST /notify", {"session_id": "X", **TEXT}),
    case("organization", 403, "GET /connections?organization_id=X"),
    case("organization", 403, "GET /export/messages?organization_id=X"),
    case("organization", 403, "POST /broadcast", {**NOTE, "organization_id": "X"}),
    *_everywhere("organization"),
    case("organization", 403, "POST /notify", {"organization_id": "X", **TEXT}),
    case("organization", 403, "PUT /users/mine/contacts", {"organization_id": "X"}),
    case("user", 403, "POST /tasks", {**TASK, "assignee": {"user": "X"}}),
    case("user", 403, "GET /tasks?assignee=X"),
    case("session", 403, "POST /tasks", {**TASK, "session_id": "X"}),
    case("session", 403, "GET /tasks?session_id=X"),
    case("organization", 403, "POST /tasks", {**TASK, "organization_id": "X"}),
    case("organization", 403, "GET /tasks?organization_id=X"),
    case("session", 403, "POST /rules/test", {**BEFORE, "session_id": "X"}),
    case("user", 404, "PUT /quotas/user:X", QUOTA),
    case("user", 404, "GET /quotas/user:X"),
    case("organization", 404, "PUT /quotas/organization:X", QUOTA),
    case("organization", 404, "GET /quotas/organization:X"),
    case("user", 403, "POST /usage", {"scope": "user:X", "amount": 1}),
    case("user", 403, "GET /usage?scope=user:X"),
    case("organization", 403, "GET /usage?scope=organization:X"),
    case("user", 403, "GET /files?user_id=X"),
    case("session", 403, "GET /files?session_id=X"),
    case("organization", 403, "GET /files?organization_id=X"),
    case("file", 404, "GET /files/X"),
    case("file", 404, "GET /files/X/url"),
    case("task", 404, "GET /tasks/X"),
    case("task", 404, "PATCH /tasks/X", {"note": "n"}),
    case("message", 404, "GET /messages/X"),
    case("message", 404, "GET /messages/X?user_id=mine"),
    case("notification", 404, "GET /notifications/X"),
    case("notification", 404, "POST /notifications/X/retry"),
    case("notification", 404, "POST /notifications/X/cancel"),
    case("connection", 404, "GET /connections/X"),
    *_everywhere("connection"),
    # These change the tenants, so they come last.
    case("session", 404, "PUT /sessions/X/members", {"user_ids": ["mine"]}),
    case("file", 404, "DELETE /files/X"),
    case("connection", 404, "DELETE /connections/X"),
    case("token", 403, "POST /tokens/revoke", {"jti": "X"}),
    case("user", 403, "POST /users/disconnect", {"user_id": "X"}),
    case("user", 403, "POST /tokens/revoke", {"user_id": "X"}),
    case("user", 404, "DELETE /users/X/data"),
)

LISTS = (
    "/connections",
    "/online-users",
    "/sessions",
    "/sessions?state=open",
    "/sessions?holder=none",
    "/notifications",
    "/tasks",
    "/files",
    "/quotas",
    "/usage",
    "/export/usage",
    "/export/notifications",
    "/export/notifications?order=settled",
    "/export/messages",
    "/stats",
    "/stats/history",
    "/whoami",
    "/diagnostics",
)
"""Requests without an object, whose answers must not show a manager anything outside."""


class Tenants(NamedTuple):
    """A server with something of each kind in each place."""

    server: Server
    ids: dict[str, dict[str, str]]
    """By kind and place."""
    ours: str
    """A message that people of each place were in the session of."""


async def make_tenants(server: Server) -> Tenants:
    """Users who are there, who were, and who never came; and what belongs to them."""
    people = {
        "mine": "o1",
        "mine_gone": "o1",
        "theirs": "o2",
        "theirs_gone": "o2",
        "customer": None,
    }
    sockets = {}
    for user, organization_id in people.items():
        sockets[user] = await server.connect(
            user, organization_id=organization_id, jti=f"jti_{user}", sessions=[f"s_{user}"]
        )
        sockets[user].send(type="join_session", session_id=f"s_{user}", ref=1)
        await sockets[user].push("session_joined")
        sockets[user].send(type="send_message", session_id=f"s_{user}", content="hi", ref=2)
        await sockets[user].push("ack")
    await server.connect("mine", organization_id="o1", jti="jti_second")
    connections = {user: socket.greeting["connection_id"] for user, socket in sockets.items()}
    messages, notifications, tasks, files = {}, {}, {}, {}
    answers: dict[str, list[str]] = {}
    for user, organization_id in people.items():
        sent = await server.post(f"/users/{user}/messages", **{**NOTE, "keep": True})
        messages[user] = sent.json()["message_id"]
        answers[user] = []
        for _ in range(2):
            sent = await server.post(f"/sessions/s_{user}/answers", content="c")
            answers[user].append(sent.json()["message_id"])
        by = "service" if organization_id is None else "manager"
        bearer = token(f"boss_{by}", by, organization_id=organization_id)
        answer = await server.post("/notify", bearer=bearer, user_ids=[user], **TEXT)
        notifications[user] = answer.json()["notification_id"]
        task = await server.post("/tasks", **TASK, assignee={"user": user})
        tasks[user] = task.json()["task_id"]
        bearer = token(user, "user", organization_id=organization_id)
        about = {"Tus-Resumable": "1.0.0", "Upload-Length": "0"}
        file = await server.post("/files", bearer=bearer, headers=about)
        files[user] = file.json()["file_id"]
    for user in ("mine_gone", "theirs_gone"):
        id_ = connections[user]
        await server.request("DELETE", f"{API}/connections/{id_}", bearer=token())
    sent = await server.post("/sessions/s_mine/messages", **NOTE)
    by_place = dict(zip(PLACES, (*list(people)[:4], "unknown", "customer"), strict=True))
    places = by_place.items()
    return Tenants(
        server,
        {
            "user": by_place,
            "session": {place: f"s_{user}" for place, user in by_place.items()},
            "organization": dict(zip(PLACES, ("o1", "o1", "o2", "o2", "o9", "o8"), strict=True)),
            "message": {p: messages.get(user, "msg_unknown") for p, user in by_place.items()},
            **{
                kind: {p: answers[user][n] if user in answers else "msg_x" for p, user in places}
                for n, kind in enumerate(("answer", "other answer"))
            },
            "notification": {
                p: notifications.get(user, "notify_unknown") for p, user in by_place.items()
            },
            "task": {p: tasks.get(user, "task_unknown") for p, user in by_place.items()},
            "file": {p: files.get(user, "file_unknown") for p, user in by_place.items()},
            "connection": {
                p: connections.get(user, "conn_unknown") for p, user in by_place.items()
            },
            "token": {place: f"jti_{user}" for place, user in by_place.items()}
            | {"own": "jti_second"},
        },
        sent.json()["message_id"],
    )


async def ask(tenants: Tenants, case: Case, role: str, place: str) -> tuple[Response, str]:
    """The answer, and its text with X for the id and without what is each request's own."""
    id_ = tenants.ids[case.kind][place]
    path, body = case.ask(id_)
    path = f"{API}{path.replace('{ours}', tenants.ours)}"
    bearer = token(f"asking_{role}", role, organization_id="o1")
    raw = b"" if body is None and case.method == "POST" else None
    answer = await tenants.server.request(case.method, path, raw, bearer=bearer, **(body or {}))
    text = answer.body.decode().replace(id_, "X")
    return answer, text.replace(answer.headers["x-request-id"], "REQUEST")


def status_of(answer: Response) -> int:
    """The status; of a batch, that of its one message."""
    if answer.status == 200 and answer.body.startswith(b'{"results"'):
        return int(answer.json()["results"][0]["status"])
    return answer.status


async def row_of(tenants: Tenants, case: Case, role: str) -> list[tuple[int, str]]:
    """Status and text for each place."""
    row = []
    for place in PLACES:
        answer, text = await ask(tenants, case, role, place)
        row.append((status_of(answer), text))
    return row


def printed(rows: Sequence[tuple[str, str, Sequence[int]]]) -> str:
    """The matrix as a table: role, route, and a status for each place."""
    width = max(len(name) for _, name, _ in rows)
    head = f"{'ROLE':8}  {'ROUTE':{width}}  " + "  ".join(PLACES)
    lines = [head]
    for role, name, statuses in rows:
        cells = "  ".join(f"{s:{len(p)}}" for s, p in zip(statuses, PLACES, strict=True))
        lines.append(f"{role:8}  {name:{width}}  {cells}")
    return "\n".join(lines)


async def _show() -> None:
    rows = []
    for role in ROLES:
        with tempfile.TemporaryDirectory() as folder:
            server = await start(Path(folder), permissions=PERMISSIONS)
            tenants = await make_tenants(server)
            for each in CASES:
                row = await row_of(tenants, each, role)
                rows.append((role, each.name, [status for status, _ in row]))
            await server.stop()
    print(printed(rows))


if __name__ == "__main__":
    asyncio.run(_show())
