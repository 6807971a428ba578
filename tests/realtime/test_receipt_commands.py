from __future__ import annotations

from typing import Any

import pytest

from tests.support.inbox_messages import ack, pending_count, send_to_user
from tests.support.live_server import Live


@pytest.mark.gen_test
async def test_an_acknowledgement_is_stored_before_the_reply(live: Live) -> None:
    client = await live.connect("u1")
    sent = await send_to_user(live, "a")
    assert await client.call("ack", ids=[sent.message_id]) == {
        "type": "ack",
        "ref": 1,
        "acknowledged": 1,
    }
    assert await pending_count(live) == 0
    assert await ack(client, sent) == 0  # once is enough


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["m"] * 1001}, "ids"),
        ({"ids": "m"}, "ids"),
        ({"ids": [""]}, "ids"),
        ({"ids": ["a b"]}, "ids"),
        ({"ids": [1]}, "ids"),
        ({"ids": ["m"], "stream": "broadcast"}, "stream"),
        ({"ids": ["m"], "offset": 1}, "offset"),
        ({"stream": "broadcast"}, "offset"),
        ({"offset": 1}, "stream"),
        ({"stream": "role:admin", "offset": 0}, "stream"),
        ({"stream": "user:", "offset": 0}, "stream"),
        ({"stream": "broadcast", "offset": -1}, "offset"),
        ({"stream": "broadcast", "offset": True}, "offset"),
    ],
)
@pytest.mark.gen_test
async def test_a_malformed_ack_names_the_field(
    live: Live, fields: dict[str, Any], field: str
) -> None:
    client = await live.connect("u1")
    error = (await client.call("ack", **fields))["error"]
    assert error["code"] == "bad_request"
    assert error["field"].startswith(field)


@pytest.mark.gen_test
async def test_a_read_needs_ids(live: Live) -> None:
    client = await live.connect("u1")
    assert (await client.call("read"))["error"]["field"] == "ids"
    assert await client.error("read", ids=["m"], stream="broadcast") == "unknown_field"


@pytest.mark.gen_test
async def test_a_bound_connection_acknowledges_its_session_and_its_inbox_alone(live: Live) -> None:
    writer = await live.in_session("u2", session_id="s1")
    said = await writer.call("send_message", session_id="s1", content="hi")
    await live.in_session("u2", session_id="s2")
    elsewhere = await live.connect("u1", endpoint="session", session_id="s2", sessions="*")
    for command in ("ack", "read"):
        answer = await elsewhere.call(command, ids=[said["message_id"]])
        assert answer["acknowledged"] == 0
    code = await elsewhere.error("ack", stream="session:s1", offset=said["offset"])
    assert code == "session_bound"
    direct = await send_to_user(live, "a")
    assert (await elsewhere.call("ack", ids=[direct.message_id]))["acknowledged"] == 1
    assert (await elsewhere.call("ack", stream="broadcast", offset=0))["type"] == "ack"
    within = await live.connect("u1", endpoint="session", session_id="s1", sessions="*")
    assert (await within.call("read", ids=[said["message_id"]]))["acknowledged"] == 1
