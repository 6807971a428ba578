"""Requests that begin, continue and end answers: what is refused in their bodies."""

from __future__ import annotations

import pytest

from tests.support.web_server import API, Server, token


@pytest.mark.gen_test
async def test_what_is_noted_with_an_answer_is_small(server: Server) -> None:
    begun = await server.request("POST", f"{API}/sessions/s1/answers", bearer=token(), content="x")
    path = f"{API}/answers/{begun.json()['message_id']}/finish"
    refused = await server.request("POST", path, bearer=token(), usage={"note": "x" * 4096})
    assert refused.status == 422
    assert refused.json()["errors"] == [
        {"field": "usage", "message": "more than 4096 bytes as JSON"}
    ]
    finished = await server.request("POST", path, bearer=token(), usage={"note": "x" * 4000})
    assert finished.json()["state"] == "completed"
