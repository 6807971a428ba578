"""Query strings: validation, pagination, time ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_clock import FakeClock
from tests.support.web_server import Server
from wsserver.errors import BadRequest
from wsserver.web.api.queries import PageQuery, moment_of, parse_pairs, read_query, step_of


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "١٢",
        "%D9%A1%D9%A2",
        "1_0",
        "+1",
        "%2B1",
        "-1",
        "1001",
        "1.0",
        "1e2",
        "",
        " 1",
        "01",
        "0x10",
        "%00",
        "9" * 400,
        "1;2",
        "null",
    ],
)
@pytest.mark.gen_test
async def test_an_odd_limit_is_named(server: Server, value: str) -> None:
    path = f"/connections?limit={value.encode().decode('latin-1')}"
    answer = await server.get(path.replace(" ", "%20"))
    assert (answer.status, answer.code) == (400, "bad_request")
    assert answer.json()["field"] == "limit"


@pytest.mark.parametrize(
    "query", ["before=9", "after=0", "after=1&before=9&limit=1", "since=24h", "since=1h&until=2h"]
)
@pytest.mark.gen_test
async def test_what_may_be_left_out_may_be_given(server: Server, query: str) -> None:
    answer = await server.get(f"/sessions/s1/history?{query}")
    assert (answer.status, answer.json()["messages"]) == (200, [])


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/connections?colour=red", "colour"),
        ("/connections?limit=1&limit=1", "limit"),
        ("/connections?user_id=a%20b", "user_id"),
        ("/connections?endpoint=other", "endpoint"),
        ("/connections?cursor=%21%21", "cursor"),
        ("/connections?cursor=", "cursor"),
        ("/stats?x=1", "x"),
        ("/stats/history?since=yesterday", "since"),
        ("/stats/history?since=2026-13-45T00:00:00Z", "since"),
        ("/stats/history?since=2024-01-15T14:30:00", "since"),
        ("/stats/history?since=1h&until=2h", "until"),
        ("/stats/history?step=5", "step"),
        ("/stats/history?step=0s", "step"),
        ("/stats/history?step=7x", "step"),
        ("/stats/history?step=7s%0A", "step"),
        ("/stats/history?cursor=abc", "cursor"),
        ("/audit?since=-1h", "since"),
        ("/sessions/s1/history?since=monday", "since"),
        ("/sessions/s1/history?until=2024-01-15", "until"),
        ("/audit?cursor=eyJ9", "cursor"),
    ],
)
@pytest.mark.gen_test
async def test_a_wrong_parameter_is_named(server: Server, path: str, field: str) -> None:
    answer = await server.get(path)
    assert (answer.status, answer.code) == (400, "bad_request"), answer
    assert answer.json()["field"] == field
    assert "regex" not in answer.json()["detail"]


@pytest.mark.parametrize("query", ["limit=%zz", "limit=%f", "limit=%ff", "%ff=1", "&" * 100])
@pytest.mark.gen_test
async def test_a_broken_query_string(server: Server, query: str) -> None:
    answer = await server.get(f"/connections?{query}")
    assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.gen_test
async def test_lists_go_page_by_page(server: Server) -> None:
    for number in range(5):
        await server.connect(f"u{number}", sessions=["s1"])
    for path, name, key in (
        ("/connections", "connections", "user_id"),
        ("/online-users", "users", "user_id"),
    ):
        seen: list[str] = []
        cursor = ""
        for _ in range(3):
            page = (await server.get(f"{path}?limit=2{cursor}")).json()
            assert page["total"] == 5
            seen += [each[key] for each in page[name]]
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == [f"u{number}" for number in range(5)]
        assert page["next_cursor"] is None


@pytest.mark.gen_test
async def test_the_audit_trail_goes_page_by_page(server: Server) -> None:
    for number in range(3):
        await server.post("/users/disconnect", user_id=f"u{number}", headers={"X-Request-ID": "r"})
    first = (await server.get("/audit?limit=2")).json()
    assert first["total"] == 3
    assert [each["target"] for each in first["entries"]] == ["user:u2", "user:u1"]
    assert first["entries"][0]["request_id"] == "r"
    assert first["entries"][0]["actor"] == "admin1"
    second = (await server.get(f"/audit?limit=2&cursor={first['next_cursor']}")).json()
    assert [each["target"] for each in second["entries"]] == ["user:u0"]
    assert second["next_cursor"] is None
    assert (await server.get("/audit?actor=nobody")).json()["entries"] == []
    assert (await server.get("/audit?since=1m&until=2099-01-01T00:00:00Z")).json()["total"] == 3


@pytest.mark.gen_test
async def test_history_gives_snapshots_of_a_range(server: Server) -> None:
    snapshots = server.context.snapshots
    stats = {name: 0 for name in server.system.manager.stats() if name in FIELDS}
    for number in range(6):
        at = 1_700_000_000 + 60 * number
        await snapshots.add({**stats, "timestamp": at, "node": "test", "sequence": number})
    since = "since=2023-11-14T22:13:20Z"
    page = (await server.get(f"/stats/history?{since}&until=2023-11-14T22:17:20%2B00:00")).json()
    assert page["total"] == 4
    assert page["snapshots"][0]["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert [each["sequence"] for each in page["snapshots"]] == [0, 1, 2, 3]
    stepped = (await server.get(f"/stats/history?{since}&step=5m")).json()
    assert 1 < stepped["total"] <= 3
    limited = (await server.get(f"/stats/history?{since}&limit=4")).json()
    rest = (await server.get(f"/stats/history?{since}&cursor={limited['next_cursor']}")).json()
    assert [each["sequence"] for each in rest["snapshots"]][:2] == [4, 5]
    assert (await server.get("/stats/history")).json()["total"] == 0


FIELDS = (
    "total_connections",
    "active_connections",
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "active_users",
    "active_sessions",
    "total_user_connections",
    "total_session_connections",
)


def test_moments(clock: FakeClock) -> None:
    assert moment_of("24h", "since", clock) == clock.wall() - 86400
    assert moment_of("2023-11-14t22:13:20z", "since", clock) == 1_700_000_000
    assert moment_of("2023-11-14T23:13:20.5+01:00", "since", clock) == 1_700_000_000.5
    assert step_of("5m", "step") == 300
    for text in ("2024-02-30T00:00:00Z", "1", "h", "٣h", "1h\n", "0000-00-00T00:00:00Z"):
        with pytest.raises(BadRequest):
            moment_of(text, "since", clock)


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_no_query_string_is_an_internal_error(text: str) -> None:
    try:
        read_query(parse_pairs(text), PageQuery)
    except BadRequest:
        pass


@given(st.text(max_size=40))
def test_no_moment_is_an_internal_error(text: str) -> None:
    from wsserver.clock import Clock

    try:
        moment_of(text, "since", Clock())
    except BadRequest:
        pass


def test_a_negative_number_is_refused_with_the_minimum() -> None:
    with pytest.raises(BadRequest) as refused:
        read_query((("limit", "-1"),), PageQuery)
    assert "limit: not an integer from 0" in str(refused.value)
