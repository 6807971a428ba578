"""Tokens never appear in logs, metrics, the audit trail or answers."""

from __future__ import annotations

import logging

import pytest

from tests.support.web_server import API, Server, token


@pytest.mark.gen_test
async def test_a_canary_is_found_nowhere(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    good = token("canary", "admin")
    bad = "canary-bad-token.part.part"
    ticket = (await server.post("/tickets", bearer=good)).json()["ticket"]
    answers: list[bytes] = []

    async def ask(method: str, path: str, **options: object) -> None:
        answer = await server.request(method, path, **options)  # type: ignore[arg-type]
        answers.append(repr(answer.headers).encode() + answer.body)

    for secret in (good, bad):
        await ask("GET", f"{API}/stats", bearer=secret)
        await ask("GET", f"{API}/stats?token={secret}", bearer=secret)
        await ask("GET", f"{API}/nowhere?token={secret}")
        await ask("ODD", f"{API}/stats?token={secret}")
        await ask("GET", f"/ws/chat?token={secret}")
        await ask("GET", f"/ws/chat?token={secret}&ticket={ticket}")
        await ask("GET", f"/ws/chat?{secret}=1")
        await ask("GET", f"{API}/stats", headers={"Authorization": f"Basic {secret}"})
        for options in (
            {"bearer": secret},
            {"protocols": f"wsserver.v1, bearer.{secret}"},
            {"path": f"/ws/chat?token={secret}"},
            {"path": f"/ws/chat/session/%00?token={secret}"},
        ):
            socket = await server.upgrade(**options)  # type: ignore[arg-type]
            answers.append(repr(socket.response.headers).encode())
            _opcode, payload = await socket.frame()
            answers.append(payload)

    def broken(*args: object) -> None:
        raise RuntimeError("broken")

    server.context.admin_queries.stats = broken
    await ask("GET", f"{API}/stats", bearer=good)
    await server.upgrade(f"/ws/chat?ticket={ticket}")
    await ask("GET", "/metrics")
    await ask("GET", f"{API}/audit", bearer=good)

    said = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "request failed" in said
    assert "/ws/chat" in said
    for secret in (good, bad, ticket):
        assert secret not in said
        assert not [answer for answer in answers if secret.encode() in answer]
