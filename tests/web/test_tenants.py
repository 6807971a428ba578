"""Tenant isolation by role and route: own, foreign, missing and unknown objects."""

from __future__ import annotations

import re

import pytest

from tests.support.built_in import ENDPOINTS
from tests.support.tenant_matrix import (
    CASES,
    LISTS,
    OUTSIDE,
    OWN,
    PERMISSIONS,
    PLACES,
    ROLES,
    ask,
    make_tenants,
    printed,
    row_of,
)
from tests.support.web_server import API, Server, StartServer, token

MUST_EXIST = {"session", "message", "notification", "connection", "task", "file"} | {
    "answer",
    "other answer",
}
"""Kinds whose unused ids are 404 in a path, for all roles."""
DONE = (200, 202, 204)
NOT_FOR_A_SERVICE = (
    *("DELETE /connections", "POST /users/disconnect", "POST /tokens/revoke", "POST /recordings"),
    *("PUT /quotas", "GET /quotas", "GET /users/X/data", "DELETE /users/X/data"),
    "PUT /users/X/chaos",
)


@pytest.mark.gen_test
@pytest.mark.parametrize("role", ROLES)
async def test_the_matrix_of_tenants(start_server: StartServer, role: str) -> None:
    tenants = await make_tenants(await start_server(permissions=PERMISSIONS))
    rows = []
    for each in CASES:
        row = await row_of(tenants, each, role)
        statuses = [status for status, _ in row]
        rows.append((role, each.name, statuses))
        cell = printed(rows[-1:])
        if role == "user":
            assert set(statuses) == {404 if each.kind == "file" else 403}, cell
        elif role == "manager":
            assert statuses[2:] == [each.outside] * len(OUTSIDE), cell
            # Byte for byte the same, but for the id itself.
            assert len({text for _, text in row[2:]}) == 1, (cell, row[2:])
            assert statuses[0] in DONE, cell
            if each.kind in ("token", "connection"):  # known only while it is there
                assert row[1] == row[2], cell
            else:
                assert statuses[1] in DONE, cell
        else:
            lacks = role == "service" and each.name.startswith(NOT_FOR_A_SERVICE)
            done = {*DONE, 404} if each.kind in MUST_EXIST else set(DONE)
            assert set(statuses) <= ({403} if lacks else done), cell
            assert statuses[0] in done - {404} or lacks, cell
    assert {name for _, name, _ in rows} == {each.name for each in CASES}


@pytest.mark.gen_test
async def test_no_answer_changes_as_a_user_of_another_organization_comes_and_goes(
    start_server: StartServer,
) -> None:
    """The same id: never seen, online and in a session, a member of it, gone, stored."""
    server = await start_server(permissions=PERMISSIONS)
    tenants = await make_tenants(server)
    for kind, id_ in (("user", "late"), ("session", "s_late"), ("token", "jti_late")):
        tenants.ids[kind]["unknown"] = id_
    cases = [each for each in CASES if each.kind in ("user", "session", "token")]

    async def answers() -> list[str]:
        return [(await ask(tenants, each, "manager", "unknown"))[1] for each in cases]

    never_seen = await answers()
    for organization_id in ("o2", None):
        socket = await server.connect(
            "late", organization_id=organization_id, jti="jti_late", sessions=["s_late"]
        )
        socket.send(type="join_session", session_id="s_late", ref=1)
        await socket.push("session_joined")
        assert await answers() == never_seen
        socket.send(type="send_message", session_id="s_late", content="hi", ref=2)
        await socket.push("ack")
        members = f"{API}/sessions/s_late/members"
        await server.request("PUT", members, bearer=token(), user_ids=["late"])
        assert await answers() == never_seen
        id_ = socket.greeting["connection_id"]
        await server.request("DELETE", f"{API}/connections/{id_}", bearer=token())
        assert await answers() == never_seen
        await server.system.service.notifications.directory.flush()
        assert await answers() == never_seen


@pytest.mark.gen_test
async def test_no_list_shows_a_manager_users_of_other_organizations(
    start_server: StartServer,
) -> None:
    tenants = await make_tenants(await start_server(permissions=PERMISSIONS))
    manager = token("asking", "manager", organization_id="o1")
    outside = {tenants.ids[kind][place] for kind in tenants.ids for place in OUTSIDE}
    outside -= {"unknown", "o8", "o9"}
    for path in LISTS:
        answer = await tenants.server.get(path, bearer=manager)
        assert answer.status == 200, path
        found = [id_ for id_ in outside if f'"{id_}"' in answer.body.decode()]
        assert found == [], path
    sessions = (await tenants.server.get("/sessions", bearer=manager)).json()
    assert ([s["session_id"] for s in sessions["sessions"]], sessions["total"]) == (["s_mine"], 1)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "path", ["/audit", "/export/audit", "/webhooks/deliveries", "/webhooks/deliveries/x1"]
)
async def test_what_is_the_whole_servers_is_nothing_for_a_manager(
    start_server: StartServer, path: str
) -> None:
    server = await start_server(permissions=PERMISSIONS)
    manager = token("asking", "manager", organization_id="o1")
    assert (await server.get(path, bearer=manager)).code == "forbidden"
    socket = await server.upgrade("/ws/admin/monitor", bearer=manager)
    assert (await socket.closed())[0] == 4503


def test_every_route_that_names_something_is_in_the_matrix() -> None:
    in_it = {re.sub(r"\?.*| .*", "", each.name.partition(" ")[2]) for each in CASES}
    in_it.add("/quotas/X")
    patterns = [re.sub("X|s_mine|mine|{ours}", r"[^/]+", path) + "$" for path in in_it]
    exempt = {f"{API}/webhooks/deliveries/{{delivery_id}}"}
    exempt |= {f"{path}/retry" for path in exempt}
    exempt.add(f"{API}/recordings/{{recording_id}}")  # tests/web/test_recordings.py
    exempt.add(f"{API}/nodes/{{node}}/drain")  # refused to all who are confined
    # Only those of the configuration: tests/extensions
    exempt |= {f"{API}/accounts/{{account}}", f"{API}/accounts/{{account}}/retry"}
    exempt.add(f"{API}/responders/{{responder}}")
    exempt |= {"/intake/gewe/{account}", "/intake/webhook/{account}"}  # a key, no token
    for endpoint in ENDPOINTS:
        if "{" in endpoint.path and endpoint.path not in exempt:
            path = endpoint.path.removeprefix(API)
            assert any(re.match(pattern, path) for pattern in patterns), path


@pytest.mark.gen_test
async def test_a_manager_keeps_members_and_adds_its_own(start_server: StartServer) -> None:
    """Those of others are neither shown to it nor taken off by it."""
    server = await start_server(permissions=PERMISSIONS)
    for user, organization_id in (("a1", "o1"), ("a2", "o1"), ("b1", "o2"), ("c1", None)):
        await server.connect(user, organization_id=organization_id)
    manager = token("asking", "manager", organization_id="o1")

    async def members(bearer: str, *user_ids: str) -> list[str]:
        path = f"{API}/sessions/s1/members"
        if user_ids:
            answer = await server.request("PUT", path, bearer=bearer, user_ids=list(user_ids))
            assert answer.json() == (await server.request("GET", path, bearer=bearer)).json()
        else:
            answer = await server.request("GET", path, bearer=bearer)
        return list(answer.json()["user_ids"])

    everybody = ["a1", "b1", "c1", "new"]
    assert await members(token(), *everybody) == everybody
    assert await members(manager) == ["a1", "c1"]
    assert await members(manager, "a1", "a2") == ["a1", "a2"]
    assert await members(token()) == ["a1", "a2", "b1", "new"]
    # What is in the list may be named, shown or not; what is not has to be its own.
    assert await members(manager, "a2", "new", "b1") == ["a2"]
    path = f"{API}/sessions/s1/members"
    for outside in ("b2", "c1"):
        answer = await server.request("PUT", path, bearer=manager, user_ids=["a2", outside])
        assert (answer.status, answer.json()["detail"]) == (
            403,
            f"user {outside} is outside of your organization",
        )
    assert await members(token()) == ["a2", "b1", "new"]


@pytest.mark.gen_test
async def test_an_idempotency_key_is_of_an_organization_and_user(server: Server) -> None:
    """The same user id with a token of another organization is answered anew."""
    answers = []
    for organization_id in ("o1", "o2", "o1"):
        bearer = token("boss", "manager", organization_id=organization_id)
        answers.append(
            await server.post(
                "/broadcast", bearer=bearer, headers={"Idempotency-Key": "k"}, type="x", data=1
            )
        )
    ids = [answer.json()["message_id"] for answer in answers]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.gen_test
async def test_a_manager_is_bound_to_sessions_of_its_organization_alone(
    start_server: StartServer,
) -> None:
    """With ``sessions:any``, also without connections, so that storage is read."""
    tenants = await make_tenants(await start_server(permissions=PERMISSIONS))
    sessions, manager = tenants.ids["session"], token("m", "manager", organization_id="o1")
    for place in PLACES:
        path = f"/ws/chat/session/{sessions[place]}"
        socket = await tenants.server.upgrade(path, bearer=manager)
        if place in OWN:
            assert (await socket.push("session_joined"))["session_id"] == sessions[place]
        else:
            expected = (4503, f"no access to session {sessions[place]}")
            assert await socket.closed() == expected, place
        await socket.close()
