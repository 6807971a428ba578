"""Quotas over REST: who may do what, what is counted, pushed and told."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.support.waiting import until
from tests.support.web_server import API, Server, StartServer, token
from wsserver.extensions.quotas.answer_usage import AnswerUsage
from wsserver.extensions.quotas.pushes import UsageUpdatePush

QUOTA = {"limit": 100, "unit": "tokens", "period": "month"}
ACME = "organization:acme"


async def put(server: Server, scope: str = ACME, **fields: Any) -> Any:
    path = f"{API}/quotas/{scope}"
    return await server.request("PUT", path, bearer=token(), **{**QUOTA, **fields})


async def use(server: Server, amount: float, scope: str = ACME, **fields: Any) -> Any:
    answer = await server.post("/usage", scope=scope, amount=amount, **fields)
    assert answer.status == 200, answer.json()
    return answer.json()


def hear(server: Server, name: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    server.system.manager.add_event_handler(name, events.append)
    return events


@pytest.mark.gen_test
async def test_a_quota_is_set_used_and_deleted(server: Server) -> None:
    quota = (await put(server, budget=9.5, currency="CNY", timezone="Asia/Shanghai")).json()
    assert quota["resets_at"].endswith("T16:00:00.000Z")
    assert (quota["used"], quota["remaining"], quota["at_limit"]) == (0, 100, "warn")
    assert (await use(server, 0.1))["used"] == 0.1
    assert (await use(server, 0.2, cost=1.25))["used"] == 0.3
    found = (await server.get(f"/quotas/{ACME}")).json()
    assert (found["used"], found["cost"], found["remaining"]) == (0.3, 1.25, 99.7)
    listed = (await server.get("/quotas")).json()
    assert (listed["quotas"], listed["total"], listed["next_cursor"]) == ([found], 1, None)
    path = f"{API}/quotas/{ACME}"
    assert (await server.request("DELETE", path, bearer=token())).json() == {"deleted": ACME}
    assert (await server.request("DELETE", path, bearer=token())).code == "not_found"
    assert (await server.get(f"/quotas/{ACME}")).code == "not_found"
    rest = await use(server, 1)
    assert (rest["used"], rest["limit"], rest["period"]) == (1.3, None, None)


@pytest.mark.gen_test
async def test_every_fault_is_named(server: Server) -> None:
    answer = await put(
        server, limit=0, unit="", period="year", timezone="Mars", currency="¥", at_limit="no", x=1
    )
    assert [each["field"] for each in answer.json()["errors"]] == [
        *("limit", "unit", "period", "currency", "at_limit", "x"),
    ]
    answer = await put(server, timezone="Mars/Base", budget=-1)
    assert {each["field"] for each in answer.json()["errors"]} == {"budget", "timezone"}
    for scope in ("acme", "team:x", "user:", "organization:a b", "organization:a|b"):
        answer = await put(server, scope.replace(" ", "%20"))
        assert (answer.status, answer.json()["errors"][0]["field"]) == (400, "scope"), scope
    answer = await server.post("/usage", amount=-1, source="a\nb", cost="x")
    assert {each["field"] for each in answer.json()["errors"]} == {"amount", "source", "cost"}
    for body in ({}, {"scope": ACME, "session_id": "s1"}):
        answer = await server.post("/usage", amount=1, **body)
        assert answer.json()["errors"][0]["message"] == "one of scope and session_id"
    answer = await server.post("/usage", amount=1, session_id="nobody")
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "session_id")
    for query in ("step=1s&since=30d", "scope=x", "since=x", "x=1"):
        assert (await server.get(f"/usage?{query}")).status == 400, query


@pytest.mark.gen_test
async def test_usage_of_a_session_is_that_of_its_organization(server: Server) -> None:
    await server.connect("seller", organization_id="acme")
    await server.request("PUT", f"{API}/sessions/s1/members", bearer=token(), user_ids=["seller"])
    await put(server)
    answer = await server.post("/usage", session_id="s1", amount=5, source="ai", message_id="m1")
    assert (answer.json()["scope"], answer.json()["used"]) == (ACME, 5)
    exported = (await server.get("/export/usage")).json()
    (row,) = exported["usage"]
    assert (row["session_id"], row["message_id"], row["source"], row["reported_by"]) == (
        *("s1", "m1", "ai", "admin1"),
    )
    assert (row["unit"], row["amount"], exported["end"]) == ("tokens", 5, 1)


@pytest.mark.gen_test
async def test_what_is_used_is_pushed_at_most_once_a_second(server: Server) -> None:
    await put(server, "user:alice")
    await until(lambda: True)
    alice = await server.connect("alice", organization_id="acme")
    boss = await server.connect("boss", "manager", organization_id="acme")
    other = await server.connect("bob", organization_id="acme")
    began = asyncio.get_running_loop().time()
    for _ in range(10):
        await use(server, 1, "user:alice")
    shown: list[dict[str, Any]] = []
    while not shown or shown[-1]["used"] < 10:
        push = await alice.push("usage_update")
        members = {name: value for name, value in push.items() if name != "type"}
        msgspec.convert(members, UsageUpdatePush, strict=True)
        shown.append(push)
    passed_s = asyncio.get_running_loop().time() - began
    assert len(shown) <= passed_s + 2
    assert (await boss.push("usage_update"))["scope"] == "user:alice"
    await server.post("/broadcast", type="end")
    assert (await other.push())["type"] == "end"


@pytest.mark.gen_test
async def test_of_an_organization_all_its_users_are_told(server: Server) -> None:
    bob = await server.connect("bob", organization_id="acme")
    await put(server)
    await use(server, 7)
    while (push := await bob.push("usage_update"))["used"] != 7:
        pass
    assert (push["limit"], push["remaining"], push["unit"]) == (100, 93, "tokens")


@pytest.mark.gen_test
async def test_each_threshold_is_told_once_and_the_highest_only(server: Server) -> None:
    crossed = hear(server, "quota_crossed")
    await put(server, "user:alice", budget=5)
    for amount in (79, 2, 0, 15, 0, 300):
        await use(server, amount, "user:alice")
        if amount > 2:
            await until(lambda: len(crossed) == {79: 0, 15: 2, 300: 3}[amount])  # noqa: B023
        else:
            await until(lambda: len(crossed) >= 1)
    assert [each["threshold"] for each in crossed] == [80, 95, 100]
    await put(server, "user:bob")
    await use(server, 500, "user:bob", cost=6)
    await until(lambda: len(crossed) == 4)
    assert crossed[-1]["threshold"] == 100
    alice = await server.connect("alice")
    texts = [(await alice.push("notification"))["notification"] for _ in range(3)]
    assert ("80%" in texts[0]["message"], texts[0]["type"]) == (True, "warning")
    listed = (await server.get("/notifications?template=cost_warning&user_id=bob")).json()
    assert (listed["total"], listed["notifications"][0]["params"]["used"]) == (1, 500)


@pytest.mark.gen_test
async def test_an_organization_over_budget_is_told_by_its_managers_once(server: Server) -> None:
    boss = await server.connect("boss", "manager", organization_id="acme")
    await put(server, budget=10, currency="CNY")
    for cost in (9, 2, 3):
        await use(server, 0, cost=cost)
    note = (await boss.push("notification"))["notification"]
    assert "CNY" in note["message"]
    tasks = server.context.extensions["quotas"]
    await tasks._warnings.look()
    listed = (await server.get("/notifications?template=budget_exceeded")).json()
    assert listed["total"] == 1


@pytest.mark.gen_test
async def test_a_warning_that_was_not_sent_is_sent_by_the_job(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    quotas = server.context.extensions["quotas"]
    monkeypatch.setattr(quotas._warnings, "tell_soon", lambda _: None)  # as if it had ended
    crossed = hear(server, "quota_crossed")
    await put(server)
    await use(server, 100)
    assert crossed == []
    await asyncio.gather(*[quotas._warnings.look() for _ in range(3)])
    assert [each["threshold"] for each in crossed] == [100]


@pytest.mark.gen_test
async def test_every_node_knows_of_an_exhausted_quota_when_the_report_is_answered(
    server: Server,
) -> None:
    guard = server.context.extensions["quotas"]._guard
    told: list[str] = []
    guard.add_listener(told.append)
    await put(server, at_limit="stop")
    await put(server, "user:u1")
    await use(server, 100, "user:u1")
    await use(server, 99)
    assert not guard
    await use(server, 1)
    assert (guard.is_exhausted(ACME), guard.is_exhausted("user:u1"), told) == (True, False, [ACME])
    assert (await server.get(f"/quotas/{ACME}")).json()["exhausted"] is True
    await use(server, 1)
    assert told == [ACME]
    await put(server, at_limit="stop", limit=200)
    assert not guard.is_exhausted(ACME)
    await use(server, 100)
    await server.request("DELETE", f"{API}/quotas/{ACME}", bearer=token())
    assert not guard.is_exhausted(ACME)


@pytest.mark.gen_test
async def test_an_exhausted_quota_is_known_after_a_restart(start_server: StartServer) -> None:
    server = await start_server()
    await put(server, at_limit="stop")
    await use(server, 100)
    await server.stop()
    settings = server.context.settings
    again = await start_server(data_dir=settings.data_dir, database=settings.database)
    assert again.context.extensions["quotas"]._guard.is_exhausted(ACME)
    assert (await again.get(f"/quotas/{ACME}")).json()["used"] == 100


@pytest.mark.gen_test
async def test_usage_over_time_by_source(server: Server) -> None:
    for source, amount in (("a", 1), ("a", 2), ("b", 4)):
        await use(server, amount, source=source, cost=0.5)
    await use(server, 9, "user:u1")
    series = (await server.get(f"/usage?scope={ACME}&since=2h&step=1h")).json()
    found = {(p["source"], p["amount"], p["cost"], p["reports"]) for p in series["usage"]}
    assert sum(each[1] for each in found) == 7
    assert {each[0] for each in found} == {"a", "b"}
    assert (series["step_s"], series["truncated"]) == (3600, False)
    every = (await server.get("/usage?since=1h&step=5m")).json()["usage"]
    assert {each["scope"] for each in every} == {ACME, "user:u1"}


@pytest.mark.gen_test
async def test_a_manager_sees_its_organization(server: Server) -> None:
    for sub, organization in (("mine", "acme"), ("theirs", "other")):
        await server.connect(sub, organization_id=organization)
    for scope in (ACME, "organization:other", "user:mine", "user:theirs"):
        await put(server, scope)
        await use(server, 1, scope)
    boss = token("boss", "manager", organization_id="acme")
    listed = (await server.get("/quotas?limit=1", bearer=boss)).json()
    assert [each["scope"] for each in listed["quotas"]] == [ACME]
    rest = (await server.get(f"/quotas?cursor={listed['next_cursor']}", bearer=boss)).json()
    assert [each["scope"] for each in rest["quotas"]] == ["user:mine"]
    assert rest["next_cursor"] is None
    series = (await server.get("/usage", bearer=boss)).json()["usage"]
    assert {each["scope"] for each in series} == {ACME}
    exported = (await server.get("/export/usage", bearer=boss)).json()["usage"]
    assert {each["scope"] for each in exported} == {ACME}
    assert (await server.get("/usage?scope=user:mine", bearer=boss)).status == 200
    for scope in ("organization:other", "user:theirs", "user:nobody"):
        assert (await server.get(f"/usage?scope={scope}", bearer=boss)).code == "forbidden"
    assert (await server.get(f"/quotas/{ACME}", bearer=boss)).code == "forbidden"


@pytest.mark.gen_test
async def test_a_repeated_report_counts_once_and_changes_are_audited(server: Server) -> None:
    await put(server)
    answers = [
        await server.post("/usage", headers={"Idempotency-Key": "k"}, scope=ACME, amount=3)
        for _ in range(2)
    ]
    assert [each.json()["used"] for each in answers] == [3, 3]
    entries = (await server.get("/audit")).json()["entries"]
    assert [(each["action"], each["target"]) for each in entries] == [
        ("report_usage", ACME),
        ("set_quota", ACME),
    ]
    answer = await server.post("/messages", target={"type": "broadcast"}, type="usage_update")
    assert answer.status == 422


async def begin(server: Server, session_id: str, **fields: Any) -> Any:
    return await server.post(f"/sessions/{session_id}/answers", content="It ", **fields)


async def assign(server: Server, session_id: str, organization: str) -> None:
    path = f"{API}/sessions/{session_id}"
    answer = await server.request("PATCH", path, bearer=token(), organization_id=organization)
    assert answer.status == 200, answer.json()


@pytest.mark.gen_test
async def test_the_usage_of_answers_counts_in_the_unit_of_the_quota(server: Server) -> None:
    await assign(server, "s1", "acme")
    await put(server)

    async def finish(**usage: Any) -> None:
        message_id = (await begin(server, "s1")).json()["message_id"]
        for _ in range(2):
            answer = await server.post(f"/answers/{message_id}/finish", usage=usage)
            assert answer.status == 200, answer.json()

    async def used() -> float:
        return float((await server.get(f"/quotas/{ACME}")).json()["used"])

    await finish(amount=5, unit="points")
    await finish(amount=5, unit="to\0kens")
    await finish(amount=5, unit="t" * 100)
    await finish(total_tokens=5)
    for wrong in (-1, True, "5", 1e30, 0):
        await finish(amount=wrong, unit="tokens")
    await finish(amount=2.5, unit="tokens", source="gpt")
    while await used() == 0:
        await asyncio.sleep(0.01)
    await finish(amount=4, unit="tokens", source=7)
    while await used() == 2.5:
        await asyncio.sleep(0.01)
    assert await used() == 6.5
    reports = (await server.get("/export/usage")).body.decode().splitlines()
    assert "gpt" in "".join(reports)


@pytest.mark.gen_test
async def test_at_the_limit_answers_are_refused_and_growing_ones_interrupted(
    server: Server,
) -> None:
    await assign(server, "s1", "acme")
    await assign(server, "s2", "globex")
    await put(server, at_limit="stop")
    ended = hear(server, "answer_ended")
    mine = (await begin(server, "s1")).json()["message_id"]
    other = (await begin(server, "s2")).json()["message_id"]
    await use(server, 100)
    refused = await begin(server, "s1")
    assert (refused.status, refused.code, refused.json()["scope"]) == (409, "quota_exhausted", ACME)
    await until(lambda: bool(ended))
    assert [(e["message_id"], e["state"], e["reason"]) for e in ended] == [
        (mine, "interrupted", "quota")
    ]
    assert (await server.post(f"/answers/{other}/append", seq=1, text="goes on")).status == 200
    assert (await begin(server, "s2")).status == 200
    await put(server, limit=200, at_limit="stop")
    assert (await begin(server, "s1")).status == 200
    await put(server, "user:bot", at_limit="stop")
    await use(server, 100, "user:bot")
    assert (await begin(server, "s2")).status == 200
    refused = await begin(server, "s2", sender={"user_id": "bot"})
    assert refused.json()["scope"] == "user:bot"


@pytest.mark.gen_test
async def test_the_usage_of_an_answer_outlasts_a_crash_after_its_end(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the process had been killed between the end and the count: the next one counts it."""
    with monkeypatch.context() as patched:
        patched.setattr(AnswerUsage, "ended", lambda self, event: None)
        patched.setattr(AnswerUsage, "look", never)
        server = await start_server()
        await assign(server, "s1", "acme")
        await put(server)
        message_id = (await begin(server, "s1")).json()["message_id"]
        await server.post(f"/answers/{message_id}/finish", usage={"amount": 2, "unit": "tokens"})
        database = server.context.settings.data_dir / "wsserver.sqlite3"
        await server.system.service.stop()
    again = await start_server(database=database)

    async def used() -> float:
        return float((await again.get(f"/quotas/{ACME}")).json()["used"])

    while await used() == 0:
        await asyncio.sleep(0.01)
    usage = {"amount": 2, "unit": "tokens"}
    answer = await again.post(f"/answers/{message_id}/finish", usage=usage)
    assert answer.status == 200
    (report,) = (await again.get("/export/usage")).json()["usage"]
    assert (report["amount"], report["message_id"]) == (2, message_id)
    assert await used() == 2


async def never(_: Any) -> None:
    """In place of periodic work."""
