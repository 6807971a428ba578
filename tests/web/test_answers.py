"""Real answers match the answer types of the OpenAPI document, field by field."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.support.built_in import ENDPOINTS
from tests.support.web_server import API, Server, token
from wsserver.realtime.observability.statistics import flatten
from wsserver.storage.tables.webhooks import Posting, WebhookOutbox
from wsserver.web.api.endpoint import Endpoint
from wsserver.web.resources.routes import by_path

NOTIFY = by_path()[f"{API}/notify"]["POST"].request_example
QUERIES = {"/search": "?query=hi"}
OPEN_ENDED = ("checks", "snapshots", "detail")
"""Members whose objects may have further fields."""


@pytest.mark.gen_test
async def test_every_json_answer_fits_its_type(server: Server) -> None:
    user = await server.connect("u1", sessions=["s1"], username="U", organization_id="o1")
    user.send(type="join_session", session_id="s1", ref=1)
    await user.push("session_joined")
    connection = user.greeting["connection_id"]
    await server.context.snapshots.add(
        {
            **flatten(server.system.manager.stats()),
            "timestamp": server.context.clock.wall() - 60,
            "sequence": 1,
        }
    )
    sent = await server.request("POST", f"{API}/notify", bearer=token(), **NOTIFY)
    kept = await server.request(
        "POST",
        f"{API}/sessions/s1/messages",
        bearer=token(),
        type="new_message",
        content="hi",
    )
    outbox = WebhookOutbox(server.context.webhooks.outbox._database)
    await outbox.add([Posting("hook_1", "https://a.example/x", "alert_raised", b"{}", 1e9)])
    task = await server.post("/tasks", title="t", steps=[], assignee={"role": "user"})
    recording = await server.post("/recordings", user_id="u1")
    about = {"Tus-Resumable": "1.0.0", "Upload-Length": "0"}
    file = await server.post("/files", headers=about)
    ids = {
        "file_id": file.json()["file_id"],
        "delivery_id": "hook_1",
        "notification_id": sent.json()["notification_id"],
        "connection_id": connection,
        "user_id": "u1",
        "session_id": "s1",
        "message_id": kept.json()["message_id"],
        "node": server.context.nodes.own,
        "recording_id": recording.json()["recording_id"],
        "scope": "organization:o1",
        "task_id": task.json()["task_id"],
    }
    bodies: dict[str, dict[str, Any]] = {
        "/users/disconnect": {"user_id": "offline"},
        "/messages/explain": {
            "target": {"type": "broadcast"},
            "type": "hint",
            "exclude_users": ["u1"],
        },
        "/messages/batch": {
            "messages": [{"target": {"type": "user", "id": "u1"}, "type": "hint"}, {"type": 1}]
        },
        "/sessions/{session_id}/members": {"user_ids": ["u1", "u2"]},
        "/sessions/{session_id}/holder": {"holder": {"type": "ai", "id": "fastgpt"}},
        "/sessions/{session_id}/messages": {"type": "new_message", "content": "hi"},
        "/users/{user_id}/messages": {"type": "hint", "data": 1},
        "/tokens/revoke": {"jti": "j"},
        "/ping/{user_id}": {"timeout_s": 10},
        "/users/{user_id}/chaos": {"delay_ms": 1, "duration_s": 600},
        "/answers/{message_id}/finish": {"seq": 0, "usage": {"total_tokens": 512}},
        "/rules/test": {"since": "2024-01-15T14:30:00Z"},
    }
    seen: set[tuple[str, str]] = set()
    for endpoint in sorted(ENDPOINTS, key=_order):
        if not (isinstance(endpoint.answer, type) and issubclass(endpoint.answer, msgspec.Struct)):
            continue
        if endpoint.is_received:
            continue  # tests/extensions/test_files.py
        if "{account}" in endpoint.path or "{responder}" in endpoint.path:
            continue  # they are in the configuration: tests/extensions
        short = endpoint.path.removeprefix(API)
        if short.startswith("/answers/"):
            path = f"{API}/sessions/s1/answers"
            begun = await server.request("POST", path, bearer=token(), metadata={})
            ids = {**ids, "message_id": begun.json()["message_id"]}
        body = bodies.get(short, endpoint.request_example or {})
        asked = asyncio.ensure_future(
            server.request(
                endpoint.method,
                endpoint.path.format(**ids) + QUERIES.get(short, ""),
                bearer=token(),
                **body,
            )
        )
        if short.startswith("/ping"):
            user.send(type="pong", id=(await user.push("ping"))["id"])
        answer = await asked
        assert answer.status in endpoint.statuses, (endpoint.path, answer)
        decoded = msgspec.json.decode(answer.body)
        typed = msgspec.convert(decoded, endpoint.answer, strict=True)
        unknown = _missing(decoded, msgspec.to_builtins(typed))
        assert not unknown, (endpoint.path, unknown)
        seen.add((endpoint.method, short))
    assert len(seen) > 20


def _order(endpoint: Endpoint) -> tuple[bool, bool]:
    """What ends connections comes last."""
    return endpoint.path.endswith("/drain"), endpoint.method == "DELETE"


def _missing(decoded: Any, typed: Any, where: str = "") -> list[str]:
    """Members of an answer that its type does not have."""
    if isinstance(decoded, dict) and isinstance(typed, dict):
        if where in OPEN_ENDED:
            return []
        return [
            found
            for name, value in decoded.items()
            for found in (
                _missing(value, typed[name], name) if name in typed else [f"{where}.{name}"]
            )
        ]
    if isinstance(decoded, list) and isinstance(typed, list):
        return [
            found
            for one, other in zip(decoded, typed, strict=True)
            for found in _missing(one, other, where)
            if where not in OPEN_ENDED
        ]
    return []


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_example_fits_its_type(endpoint: Endpoint) -> None:
    for example, kind in (
        (endpoint.request_example, endpoint.request),
        (endpoint.answer_example, endpoint.answer),
    ):
        if example is not None and not (kind is None and endpoint.raw_request):
            assert msgspec.convert(example, kind, strict=True)
