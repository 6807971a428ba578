from __future__ import annotations

import pytest

from tests.realtime.live_server import Live


@pytest.mark.gen_test
async def test_ping_is_answered_with_its_data_and_the_time(live: Live) -> None:
    client = await live.connect()
    for data in ({"a": [1, None]}, None, "x", 2**70):
        pong = await client.call("ping", data=data)
        assert (pong["type"], pong["data"]) == ("pong", data)
        assert pong["server_time"] == "2023-11-14T22:13:20.000Z"
    assert "data" not in await client.call("ping")
