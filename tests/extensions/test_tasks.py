"""Tasks over REST and sockets: who may do what, who is told, and what is overdue."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.waiting import until
from tests.support.web_server import Server, Socket, StartServer, token
from wsserver.errors import StorageUnavailable
from wsserver.extensions.tasks.pushes import TaskUpdatePush
from wsserver.protocol.targets import user

STEPS = [{"title": "Call"}, {"title": "Sign"}]


async def create(server: Server, bearer: str | None = None, **fields: Any) -> dict[str, Any]:
    body = {"title": "Onboard", "steps": STEPS, **fields}
    answer = await server.post("/tasks", bearer=bearer or token(), **body)
    assert answer.status == 200, answer.json()
    return dict(answer.json())


async def patch(server: Server, task: Any, bearer: str | None = None, **fields: Any) -> Any:
    path = f"/api/v1/websocket/tasks/{task['task_id']}"
    return await server.request("PATCH", path, bearer=bearer or token(), **fields)


async def update(socket: Socket) -> dict[str, Any]:
    """The next push about a task, which has its declared shape."""
    push = await socket.push("task_update")
    members = {name: value for name, value in push.items() if name != "type"}
    msgspec.convert(members, TaskUpdatePush, strict=True)
    return push


async def ask(socket: Socket, **fields: Any) -> dict[str, Any]:
    """Send the command; its reply, and no push of a task before it."""
    socket.send(type="task", ref=1, **fields)
    while True:
        message = await socket.push()
        if message.get("ref") == 1:
            return message


@pytest.mark.gen_test
async def test_a_task_goes_through_its_states(server: Server) -> None:
    task = await create(server, metadata={"n": 1}, due_at="2030-01-15T14:30:00+08:00")
    assert task["task_id"].startswith("task_")
    assert (task["state"], task["version"], task["step"]) == ("pending", 1, 0)
    assert task["due_at"] == "2030-01-15T06:30:00.000Z"
    assert (await patch(server, task, state="done")).code == "bad_transition"
    running = (await patch(server, task, state="running", step=1, expected_version=1)).json()
    assert (running["state"], running["step"], running["version"]) == ("running", 1, 2)
    late = await patch(server, task, progress=0.5, expected_version=1)
    assert (late.status, late.code, late.json()["version"]) == (409, "version_changed", 2)
    path = f"/api/v1/websocket/tasks/{task['task_id']}"
    assert (await server.request("PATCH", path, b"{}", bearer=token())).json() == running
    await patch(server, task, state="done", note="signed")
    whole = (await server.get(f"/tasks/{task['task_id']}")).json()
    assert (whole["state"], whole["progress"], whole["metadata"]) == ("done", 1.0, {"n": 1})
    assert [(each["version"], each["by"], each["note"]) for each in whole["history"]] == [
        (1, "admin1", None),
        (2, "admin1", None),
        (3, "admin1", "signed"),
    ]
    assert whole["history"][2]["changed"] == {"state": "done", "progress": 1.0}


@pytest.mark.gen_test
async def test_every_fault_of_a_task_is_named(server: Server) -> None:
    answer = await server.post(
        "/tasks",
        bearer=token(),
        steps=[{"title": ""}, {"name": "x"}],
        due_at="2030-01-15T14:30:00",
        session_id="a b",
        title="a\nb",
        extra=1,
    )
    assert answer.status == 422
    assert [each["field"] for each in answer.json()["errors"]] == [
        *("title", "steps[0].title", "steps[1].title", "steps[1].name", "session_id", "due_at"),
        "extra",
    ]
    both, large = {"user": "u1", "role": "user"}, {"x": "y" * 4096}
    answer = await server.post(
        "/tasks", title="t", steps=[], assignee=both, metadata=large, session_id="a b"
    )
    assert [each["field"] for each in answer.json()["errors"]] == [
        *("session_id", "assignee", "metadata")
    ]
    task = await create(server)
    answer = await patch(server, task, state="begun", step=-1, progress=2, note="", more=1)
    assert [each["field"] for each in answer.json()["errors"]] == [
        *("state", "step", "progress", "note", "more")
    ]
    answer = await patch(server, task, step=2)
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "step")
    assert (await server.get("/tasks/task_1")).code == "not_found"


@pytest.mark.gen_test
async def test_a_key_makes_one_task_of_two_requests(server: Server) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, second = [
        await server.post("/tasks", headers=headers, title="t", steps=[]) for _ in range(2)
    ]
    assert first.json() == second.json()
    assert (await server.get("/tasks")).json()["total"] == 1


@pytest.mark.gen_test
async def test_the_assignee_is_told_in_the_inbox_and_the_others_live(server: Server) -> None:
    watcher = await server.upgrade("/ws/admin/monitor", bearer=token("admin2"))
    await watcher.push("connection_established")
    boss = await server.connect("boss", "manager", organization_id="o1")
    other = await server.connect("boss2", "manager", organization_id="o2")
    guest = await server.connect("guest", sessions=["s1"])
    for socket in (guest, other):
        socket.send(type="ping", ref=0)
    guest.send(type="join_session", session_id="s1", ref=1)
    await guest.push("session_joined")
    task = await create(server, assignee={"user": "alice"}, session_id="s1", organization_id="o1")
    for socket in (watcher, boss, guest):
        push = await update(socket)
        assert (push["task"], push["by"]) == (task, "admin1")
        assert "offset" not in push
        assert "assignee" in push["changed"]
    alice = await server.connect("alice", organization_id="o1")  # was away
    push = await update(alice)
    assert (push["stream"], push["task"]["task_id"]) == ("user:alice", task["task_id"])
    reply = await ask(alice, task_id=task["task_id"], state="running")
    assert (reply["type"], reply["task"]["version"]) == ("task", 2)
    for socket in (watcher, boss, guest):
        push = await update(socket)
        assert (push["changed"], push["by"]) == (["state"], "alice")
    await server.post("/broadcast", bearer=token(), type="end")
    assert [(await other.push())["type"] for _ in range(2)] == ["pong", "end"]


@pytest.mark.gen_test
async def test_a_role_is_told_by_the_stream_of_its_organization(server: Server) -> None:
    task = await create(server, assignee={"role": "user"}, organization_id="o1")
    seller = await server.connect("seller", organization_id="o1")
    position = {"epoch": seller.greeting["organization"]["epoch"], "offset": 0}
    seller.send(type="resume", ref=1, streams={"organization:o1": position})
    (push,) = (await seller.push("resumed"))["streams"]["organization:o1"]["messages"]
    assert push["task"] == task
    boss = await server.connect("boss", "manager", organization_id="o1")
    boss.send(type="resume", ref=1, streams={"organization:o1": position})
    assert (await boss.push("resumed"))["streams"]["organization:o1"]["messages"] == []
    assert (await ask(seller, task_id=task["task_id"], state="running"))["type"] == "task"
    assert (await update(boss))["task"]["state"] == "running"


@pytest.mark.gen_test
async def test_who_may_change_a_task_over_a_socket(server: Server) -> None:
    mine = await create(server, assignee={"user": "alice"}, organization_id="o1")
    free = await create(server, assignee={"role": "user"})
    for sub, role, organization, task, may in (
        ("alice", "user", "o1", mine, True),
        ("alice", "user", None, mine, True),
        ("bob", "user", "o1", mine, False),
        ("m1", "manager", "o1", mine, True),
        ("m2", "manager", "o2", mine, False),
        ("svc", "service", None, mine, True),
        ("bob", "user", "o1", free, True),
        ("m1", "manager", "o1", free, False),
        ("bob", "user", "o1", {"task_id": "task_none"}, False),
    ):
        socket = await server.connect(sub, role, organization_id=organization)
        reply = await ask(socket, task_id=task["task_id"])
        code = "task" if may else "forbidden"
        assert reply["type" if may else "error"] == code or reply["error"]["code"] == code, sub
        await socket.close()


@pytest.mark.gen_test
async def test_errors_of_the_command(server: Server) -> None:
    task = await create(server, assignee={"user": "alice"})
    alice = await server.connect("alice")
    for fields, code in (
        ({"state": "done"}, "bad_transition"),
        ({"progress": 0.5, "expected_version": 7}, "version_changed"),
        ({"step": 9}, "bad_request"),
        ({"state": "begun"}, "bad_request"),
        ({"more": 1}, "unknown_field"),
    ):
        error = (await ask(alice, task_id=task["task_id"], **fields))["error"]
        assert (error["code"], error["temporary"]) == (code, False)
    assert (await ask(alice, task_id=task["task_id"], expected_version=7))["error"]["version"] == 1


@pytest.mark.gen_test
async def test_a_manager_stays_in_its_organization(server: Server) -> None:
    boss = token("boss", "manager", organization_id="o1")
    other = token("boss2", "manager", organization_id="o2")
    for sub, organization in (("mine", "o1"), ("theirs", "o2")):
        await server.connect(sub, organization_id=organization)
    path = "/api/v1/websocket/sessions/s2/members"
    await server.request("PUT", path, bearer=token(), user_ids=["theirs"])
    task = await create(server, boss, assignee={"user": "mine"})
    assert task["organization_id"] == "o1"
    for fields in (
        {"assignee": {"user": "theirs"}},
        {"session_id": "s2"},
        {"organization_id": "o2"},
        {"assignee": {"user": "unknown"}},
    ):
        answer = await server.post("/tasks", bearer=boss, title="t", steps=[], **fields)
        assert (answer.status, answer.code) == (403, "forbidden"), fields
    assert (await server.get(f"/tasks/{task['task_id']}", bearer=other)).code == "not_found"
    assert (await patch(server, task, other, state="running")).code == "not_found"
    assert (await server.get("/tasks", bearer=other)).json()["total"] == 0
    assert (await server.get("/tasks", bearer=boss)).json()["total"] == 1
    for query in ("organization_id=o2", "assignee=theirs", "session_id=s2"):
        assert (await server.get(f"/tasks?{query}", bearer=boss)).code == "forbidden", query
    inferred = await create(server, assignee={"user": "theirs"})
    assert inferred["organization_id"] == "o2"
    assert (await create(server, session_id="s2"))["organization_id"] == "o2"


@pytest.mark.gen_test
async def test_an_overdue_task_is_told_once(server: Server) -> None:
    events: list[dict[str, Any]] = []
    server.system.manager.add_event_handler("task_overdue", events.append)
    task = await create(server, assignee={"user": "alice"}, due_at="2020-01-15T14:30:00Z")
    done = await create(server, due_at="2020-01-15T14:30:00Z")
    await until(lambda: len(events) == 2)
    by_id = {event["task_id"]: event for event in events}
    assert by_id[task["task_id"]]["assignee"] == {"user": "alice"}
    alice = await server.connect("alice")
    notification = (await alice.push("notification"))["notification"]
    assert (notification["type"], notification["action_url"]) == (
        "warning",
        f"/tasks/{task['task_id']}",
    )
    listed = (await server.get("/tasks?overdue=true")).json()
    assert {each["task_id"] for each in listed["tasks"]} == {task["task_id"], done["task_id"]}
    overdue = server.context.extensions["tasks"]
    assert await overdue._store.due(2e9) == []
    sent = (await server.get("/notifications?template=task_overdue")).json()
    assert sorted(each["recipients"]["user_ids"][0] for each in sent["notifications"]) == [
        "admin1",
        "alice",
    ]


@pytest.mark.gen_test
async def test_a_push_that_could_not_be_stored_is_repeated(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    router, real = server.system.manager._router, server.system.manager._router.send
    failed: list[str] = []

    async def fail(message: Any) -> Any:
        if message.type == "task_update" and not failed:
            failed.append(message.type)
            raise StorageUnavailable("away")
        return await real(message)

    monkeypatch.setattr(router, "send", fail)
    task = await create(server, assignee={"user": "alice"})
    assert failed == ["task_update"]
    tasks = server.context.extensions["tasks"]
    await tasks.tell_again(2e9)
    await tasks.tell_again(2e9)
    alice = await server.connect("alice")
    push = await update(alice)
    assert (push["task"]["task_id"], push["offset"]) == (task["task_id"], 1)
    assert str(user("alice")) == push["stream"]


@pytest.mark.gen_test
async def test_the_push_is_reserved_and_the_audit_trail_has_changes(server: Server) -> None:
    target = {"type": "user", "id": "u1"}
    answer = await server.post("/messages", bearer=token(), target=target, type="task_update")
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "type")
    task = await create(server)
    await patch(server, task, state="running")
    entries = (await server.get("/audit")).json()["entries"]
    assert [(each["action"], each["target"]) for each in entries[:2]] == [
        ("update_task", f"task:{task['task_id']}"),
        ("create_task", f"task:{task['task_id']}"),
    ]


@pytest.mark.gen_test
async def test_switched_off_there_are_no_tasks(start_server: StartServer) -> None:
    server = await start_server(disabled_extensions=("tasks",))
    assert (await server.get("/tasks")).status == 404
    socket = await server.connect("u1")
    assert (await ask(socket, task_id="task_1"))["error"]["code"] == "unknown_type"
    document = (await server.get("/api/v1/openapi.json".removeprefix("/api/v1"))).status
    assert document == 404
    tables = await server.system.service.database.read(
        lambda db: [name for (name,) in db.execute("SELECT name FROM sqlite_schema")]
    )
    assert "tasks" not in tables
