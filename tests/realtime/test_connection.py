from __future__ import annotations

import pytest

from tests.support.live_server import Live


@pytest.mark.gen_test
async def test_a_connection_is_shown_as_in_the_report_and_more(live: Live) -> None:
    client = await live.connect(
        "user_67890",
        endpoint="session",
        session_id="session_abc123",
        sessions="*",
        username="sales_manager",
        role="manager",
        organization_id="org_123",
    )
    assert client.info.view() == {
        "connection_id": client.id,
        "user_id": "user_67890",
        "session_id": "session_abc123",
        "sessions": ["session_abc123"],
        "connected_at": "2023-11-14T22:13:20.000Z",
        "last_ping": "2023-11-14T22:13:20.000Z",
        "last_pong": "2023-11-14T22:13:20.000Z",
        "is_alive": True,
        "metadata": {
            "username": "sales_manager",
            "role": "manager",
            "organization_id": "org_123",
        },
        "remote_ip": "10.0.0.1",
        "user_agent": "test",
        "endpoint": "session",
        "protocol": "wsserver.v1",
        "transport": "websocket",
        "rtt_ms": None,
        "queued_bytes": 0,
    }


@pytest.mark.gen_test
async def test_its_text_names_no_more_than_ids(live: Live) -> None:
    client = await live.connect("u1")
    assert repr(client.info) == f"<ConnectionInfo {client.id} user=u1>"
    with pytest.raises(AttributeError):
        client.info.anything = 1  # type: ignore[attr-defined]
