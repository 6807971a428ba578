"""Permissions by role and route: every cell of the table, over real requests."""

from __future__ import annotations

import re

import pytest

from tests.support.built_in import DEFAULT_ROLES, ENDPOINTS
from tests.support.web_server import API, Server, token
from wsserver.realtime.connections.channel import HEADER, Channel
from wsserver.web.api.endpoint import PUBLIC, SIGNED_IN, Endpoint

ROLES = ("admin", "service", "manager", "user")

# What each role may do, written out on purpose: the table of the code must not check itself.
ALLOWED = {
    f"GET {API}/stats": "admin service manager",
    f"GET {API}/stats/history": "admin service manager",
    f"GET {API}/connections": "admin service manager",
    f"GET {API}/connections/{{connection_id}}": "admin service manager",
    f"DELETE {API}/connections/{{connection_id}}": "admin",
    f"GET {API}/users/{{user_id}}/connections": "admin service manager",
    f"GET {API}/users/{{user_id}}/conversations": "admin service manager",
    f"GET {API}/users/{{user_id}}/data": "admin",
    f"DELETE {API}/users/{{user_id}}/data": "admin",
    f"GET {API}/users/{{user_id}}/unread": "admin service manager",
    f"GET {API}/online-users": "admin service manager",
    f"POST {API}/users/disconnect": "admin",
    f"POST {API}/ping/{{user_id}}": "admin service manager",
    f"GET {API}/sessions": "admin service manager",
    f"GET {API}/sessions/{{session_id}}": "admin service manager",
    f"GET {API}/sessions/{{session_id}}/past": "admin service manager",
    f"PATCH {API}/sessions/{{session_id}}": "admin service",
    f"POST {API}/sessions/{{session_id}}/holder": "admin service",
    f"GET {API}/sessions/{{session_id}}/connections": "admin service manager",
    f"GET {API}/sessions/{{session_id}}/history": "admin service manager",
    f"GET {API}/sessions/{{session_id}}/members": "admin service",
    f"PUT {API}/sessions/{{session_id}}/members": "admin service",
    f"POST {API}/broadcast": "admin service manager",
    f"POST {API}/messages": "admin service manager",
    f"POST {API}/users/{{user_id}}/messages": "admin service manager",
    f"POST {API}/sessions/{{session_id}}/messages": "admin service manager",
    f"POST {API}/messages/batch": "admin service manager",
    f"GET {API}/messages/{{message_id}}": "admin service manager",
    f"PATCH {API}/messages/{{message_id}}": "admin service manager",
    f"DELETE {API}/messages/{{message_id}}": "admin service manager",
    f"POST {API}/messages/explain": "admin service manager",
    f"POST {API}/sessions/{{session_id}}/answers": "admin service manager",
    f"POST {API}/answers/{{message_id}}/append": "admin service manager",
    f"POST {API}/answers/{{message_id}}/finish": "admin service manager",
    f"POST {API}/answers/{{message_id}}/cancel": "admin service manager",
    f"GET {API}/answers/{{message_id}}": "admin service manager",
    f"GET {API}/search": "admin service manager",
    f"POST {API}/tickets": "admin service manager user",
    f"POST {API}/notify": "admin service manager",
    f"GET {API}/notifications": "admin service",
    f"GET {API}/notifications/{{notification_id}}": "admin service",
    f"POST {API}/notifications/{{notification_id}}/retry": "admin service manager",
    f"POST {API}/notifications/{{notification_id}}/cancel": "admin service manager",
    f"GET {API}/users/{{user_id}}/contacts": "admin service manager",
    f"PUT {API}/users/{{user_id}}/contacts": "admin service manager",
    f"GET {API}/users/{{user_id}}/notifications": "admin service manager user",
    f"PATCH {API}/users/{{user_id}}/notifications": "admin service manager user",
    f"GET {API}/users/{{user_id}}/preferences": "admin service manager user",
    f"PATCH {API}/users/{{user_id}}/preferences": "admin service manager user",
    f"GET {API}/whoami": "admin service manager user",
    f"GET {API}/diagnostics": "admin service manager",
    f"GET {API}/nodes": "admin service manager",
    f"GET {API}/nodes/{{node}}/drain": "admin",
    f"POST {API}/nodes/{{node}}/drain": "admin",
    f"POST {API}/recordings": "admin",
    f"GET {API}/recordings": "admin",
    f"GET {API}/recordings/{{recording_id}}": "admin",
    f"DELETE {API}/recordings/{{recording_id}}": "admin",
    f"PUT {API}/users/{{user_id}}/chaos": "admin",
    f"DELETE {API}/users/{{user_id}}/chaos": "admin",
    f"GET {API}/chaos": "admin",
    f"GET {API}/push-key": "admin service manager user nobody",
    f"GET {API}/webhooks/deliveries": "admin service",
    f"POST {API}/webhooks/deliveries/retry": "admin service",
    f"GET {API}/webhooks/deliveries/{{delivery_id}}": "admin service",
    f"POST {API}/webhooks/deliveries/{{delivery_id}}/retry": "admin service",
    f"GET {API}/export/stats": "admin service manager",
    f"GET {API}/export/audit": "admin",
    f"GET {API}/export/notifications": "admin service",
    f"GET {API}/export/messages": "admin service manager",
    f"POST {API}/tokens/revoke": "admin",
    "POST /sse/commands": "admin service manager user",
    f"GET {API}/audit": "admin",
    f"GET {API}/health": "admin service manager user nobody",
    f"POST {API}/tasks": "admin service manager",
    f"GET {API}/tasks": "admin service manager",
    f"GET {API}/tasks/{{task_id}}": "admin service manager",
    f"PATCH {API}/tasks/{{task_id}}": "admin service manager",
    f"POST {API}/files": "admin service manager user",
    f"GET {API}/files": "admin service manager",
    f"PATCH {API}/files/{{file_id}}": "admin service manager user",
    f"HEAD {API}/files/{{file_id}}": "admin service manager user",
    f"GET {API}/files/{{file_id}}": "admin service manager user",
    f"DELETE {API}/files/{{file_id}}": "admin service manager user",
    f"GET {API}/files/{{file_id}}/url": "admin service manager user",
    "POST /intake/gewe/{account}": "admin service manager user nobody",
    "POST /intake/webhook/{account}": "admin service manager user nobody",
    f"GET {API}/accounts": "admin service manager",
    f"GET {API}/accounts/{{account}}": "admin service manager",
    f"POST {API}/accounts/{{account}}/retry": "admin service",
    f"GET {API}/rules": "admin service manager",
    f"POST {API}/rules/test": "admin service manager",
    f"GET {API}/responders": "admin service",
    f"GET {API}/responders/{{responder}}": "admin service",
    f"GET {API}/quotas": "admin service manager",
    f"PUT {API}/quotas/{{scope}}": "admin",
    f"GET {API}/quotas/{{scope}}": "admin",
    f"DELETE {API}/quotas/{{scope}}": "admin",
    f"POST {API}/usage": "admin service",
    f"GET {API}/usage": "admin service manager",
    f"GET {API}/export/usage": "admin service manager",
    "GET /metrics": "admin service manager",
    "GET /api/v1/openapi.json": "admin service manager user nobody",
    "GET /api/v1/docs": "admin service manager user nobody",
    "GET /api/v1/docs.css": "admin service manager user nobody",
    "GET /": "admin service manager user nobody",
}
ABSENT = {
    "/intake/gewe/{account}",
    "/intake/webhook/{account}",
    "/sse/commands",
    "accounts/{account}",
    "accounts/{account}/retry",
    "responders/{responder}",
    "answers/{message_id}",
    "answers/{message_id}/append",
    "answers/{message_id}/cancel",
    "answers/{message_id}/finish",
    "connections/{connection_id}",
    "files/{file_id}",
    "files/{file_id}/url",
    "messages/{message_id}",
    "nodes/{node}/drain",
    "recordings/{recording_id}",
    "notifications/{notification_id}",
    "notifications/{notification_id}/retry",
    "notifications/{notification_id}/cancel",
    "tasks/{task_id}",
    "webhooks/deliveries/{delivery_id}",
    "webhooks/deliveries/{delivery_id}/retry",
}
"""Those answer 404 for what was never there."""


def test_the_table_names_every_route_once() -> None:
    rows = [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS]
    assert sorted(rows) == sorted(ALLOWED)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
def test_the_table_agrees_with_the_default_roles(endpoint: Endpoint) -> None:
    allowed = ALLOWED[f"{endpoint.method} {endpoint.path}"].split()
    for role in ROLES:
        may = endpoint.access in (PUBLIC, SIGNED_IN) or endpoint.access in DEFAULT_ROLES[role]
        assert may is (role in allowed), role


async def _belong(server: Server) -> None:
    """Let all that ``_ask`` names belong to the organization of those who ask."""
    named = [each for row in ENDPOINTS for each in (row.request_example, row.answer_example)]
    users = set(re.findall(r"'(user_[0-9]+)'", str(named)))
    for user_id in (*users, "x1", *[f"x-{role}" for role in ROLES]):
        path = f"{API}/users/{user_id}/contacts"
        await server.request("PUT", path, bearer=token(), organization_id="o1")
    path = f"{API}/sessions/x1/members"
    await server.request("PUT", path, bearer=token(), user_ids=["x1"])


@pytest.mark.gen_test
async def test_each_role_gets_what_it_may_and_nothing_else(server: Server) -> None:
    await _belong(server)
    for endpoint in ENDPOINTS:
        allowed = ALLOWED[f"{endpoint.method} {endpoint.path}"].split()
        for role in (*ROLES, "nobody"):
            status, code = await _ask(server, endpoint, role)
            cell = f"{role} {endpoint.method} {endpoint.path}: {status} {code}"
            if role in allowed:
                is_absent = endpoint.path.removeprefix(f"{API}/") in ABSENT
                done = next(iter(endpoint.statuses))
                assert status == (404 if is_absent else done), cell
            elif role == "nobody":
                assert (status, code) == (401, "token_missing"), cell
            else:
                assert (status, code) == (403, "forbidden"), cell


async def _ask(server: Server, endpoint: Endpoint, role: str) -> tuple[int, str]:
    path = endpoint.path
    if path.endswith("/contacts"):  # contacts of one administrator cannot be changed by others
        path = path.replace("{user_id}", f"x-{role}")
    if path.endswith(("}/notifications", "/preferences")):  # everybody's own
        path = path.replace("{user_id}", "someone")
    path = re.sub(r"\{[a-z_]+\}", "x1", path.replace("{scope}", "user:x1"))
    body = dict(endpoint.request_example or {})
    body.pop("organization_id", None)  # it would move the user to another one
    if "session_id" in body:
        body["session_id"] = "x1"
    if endpoint.path.endswith("/search"):
        path += "?query=hello"
    if endpoint.path.endswith("/users/{user_id}/messages"):
        body = {"type": "hint", "data": 1}
    bearer = None if role == "nobody" else token("someone", role, organization_id="o1")
    # As if through a proxy on this machine, so that being local opens nothing.
    headers = {"X-Forwarded-For": "192.0.2.1"}
    if HEADER in endpoint.request_headers:
        headers[HEADER] = str(Channel("test", "conn_x1", "x"))
    if endpoint.is_received:
        tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "0", "Upload-Offset": "0"}
        headers |= {**tus, "Content-Type": endpoint.receives}
    answer = await server.request(endpoint.method, path, bearer=bearer, headers=headers, **body)
    if endpoint.method == "HEAD":  # without a problem document
        return answer.status, {401: "token_missing"}.get(answer.status, "")
    return answer.status, answer.code if answer.status >= 400 else ""


@pytest.mark.parametrize("role", ["ADMIN", "admin ", ["admin"], "root", "", 1])
@pytest.mark.gen_test
async def test_an_odd_role_is_no_admin(server: Server, role: object) -> None:
    answer = await server.get("/audit", bearer=token("u1", role))  # type: ignore[arg-type]
    assert (answer.status, answer.code) == (401, "token_invalid")


@pytest.mark.gen_test
async def test_permissions_of_a_token_narrow_its_role(server: Server) -> None:
    bearer = token("a", "admin", permissions=["stats:read"])
    assert (await server.get("/stats", bearer=bearer)).status == 200
    assert (await server.get("/audit", bearer=bearer)).code == "forbidden"


@pytest.mark.gen_test
async def test_a_manager_without_an_organization_sees_nothing(server: Server) -> None:
    bearer = token("m", "manager")
    for path in (
        "/stats",
        "/stats/history",
        "/diagnostics",
        "/connections",
        "/online-users",
        "/sessions",
    ):
        assert (await server.get(path, bearer=bearer)).code == "forbidden", path


@pytest.mark.gen_test
async def test_a_manager_is_kept_to_its_organization(server: Server) -> None:
    await server.connect("mine", organization_id="o1")
    theirs = await server.connect("theirs", organization_id="o2", sessions=["s2"])
    theirs.send(type="join_session", session_id="s2", ref=1)
    await theirs.push("session_joined")
    bearer = token("m", "manager", organization_id="o1")

    listed = (await server.get("/connections", bearer=bearer)).json()
    assert [each["user_id"] for each in listed["connections"]] == ["mine"]
    online = (await server.get("/online-users", bearer=bearer)).json()
    assert [each["user_id"] for each in online["users"]] == ["mine"]
    assert (await server.get("/stats", bearer=bearer)).json()["total_connections"] == 1
    assert (await server.get("/sessions", bearer=bearer)).json()["total"] == 0
    other = theirs.greeting["connection_id"]
    for path in (f"/connections/{other}", "/users/theirs/connections", "/sessions/s2"):
        assert (await server.get(path, bearer=bearer)).code == "not_found", path
    hint = {"type": "hint", "data": 1}
    for path in ("/users/theirs/messages", "/sessions/s2/messages"):
        assert (await server.post(path, bearer=bearer, **hint)).code == "not_found", path
    sent = (await server.post("/broadcast", bearer=bearer, **hint)).json()
    assert (sent["matched"], sent["sent"], sent["failed"]) == (1, 1, 0)


@pytest.mark.gen_test
async def test_history_and_metrics_cover_the_whole_server_for_a_manager_and_name_no_user(
    server: Server,
) -> None:
    await server.connect("theirs", organization_id="o2")
    await server.system.service._take_snapshot()
    bearer = token("m", "manager", organization_id="o1")
    assert (await server.get("/stats", bearer=bearer)).json()["total_connections"] == 0
    history = await server.get("/stats/history", bearer=bearer)
    assert (history.status, history.json()["snapshots"][0]["total_connections"]) == (200, 1)
    metrics = await server.request(
        "GET", "/metrics", bearer=bearer, headers={"X-Forwarded-For": "192.0.2.1"}
    )
    assert metrics.status == 200
    assert b"wsserver_connections 1.0" in metrics.body
    for answer in (history, metrics):
        assert b"theirs" not in answer.body
        assert b"o2" not in answer.body


@pytest.mark.gen_test
async def test_every_action_that_is_denied_leaves_one_line_in_the_audit_trail(
    server: Server,
) -> None:
    """For want of the permission, so before anything of the body is known. Reads leave none."""
    for endpoint in ENDPOINTS:
        await _ask(server, endpoint, "user")
    entries = (await server.get("/audit?actor=someone")).json()["entries"]
    assert {(e["role"], e["outcome"], e["remote_ip"]) for e in entries} == {
        ("user", "forbidden", entries[0]["remote_ip"])
    }
    assert sorted(f"{e['action']} {e['target']}" for e in entries) == sorted(
        [
            *("disconnect connection:x1", "disconnect ", "members session:x1", "revoke "),
            *("session session:x1", "holder session:x1"),
            *("broadcast ", "publish ", "publish user:x1", "publish session:x1", "batch "),
            *("answer session:x1", "answer_cancel message:x1"),
            *("edit_message message:x1", "delete_message message:x1"),
            *("notify ", "contacts user:x-user", "drain node:x1"),
            *("export_user_data user:x1", "erase user:x1"),
            *("chaos user:x1", "chaos_end user:x1"),
            *("record ", "record_stop recording:x1"),
            "retry_account account:x1",
            *("retry_notification notification:x1", "cancel_notification notification:x1"),
            *("retry_webhooks ", "retry_webhooks delivery:x1"),
            *("create_task ", "update_task task:x1", "report_usage "),
            *("set_quota user:x1", "delete_quota user:x1"),
        ]
    )


@pytest.mark.gen_test
async def test_an_action_of_the_api_leaves_one_line_in_the_audit_trail(server: Server) -> None:
    hint = {"type": "hint", "data": 1}
    await server.post("/messages", target={"type": "broadcast"}, **hint)
    await server.post("/users/u1/messages", **hint)
    await server.post("/sessions/s1/messages", headers={"Idempotency-Key": "k"}, **hint)
    replayed = await server.post("/sessions/s1/messages", headers={"Idempotency-Key": "k"}, **hint)
    assert replayed.headers["idempotency-replayed"] == "true"
    await server.post("/messages/batch", messages=[{"target": {"type": "broadcast"}, **hint}])
    await server.post("/tickets")
    entries = (await server.get("/audit")).json()["entries"]
    assert [f"{e['action']} {e['target']} {e['outcome']}" for e in entries] == [
        *("batch  ok", "publish session:s1 ok", "publish user:u1 ok", "publish broadcast ok"),
    ]
