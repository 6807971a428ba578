"""Error answers name all faults of a request, on every route."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from tests.support.built_in import ENDPOINTS
from tests.support.http_response import Response
from tests.support.web_server import Server, token
from wsserver.web.api.endpoint import PREFIX, SIGNED_IN, Endpoint

WITH_BODY = [each for each in ENDPOINTS if each.request is not None]
WITH_QUERY = [each for each in ENDPOINTS if each.method == "GET" and each.access != SIGNED_IN]


async def post(server: Server, path: str, body: Any) -> Response:
    return await server.post(path, msgspec.json.encode(body))


async def put(server: Server, path: str, body: Any) -> Response:
    path, raw = f"{PREFIX}{path}", msgspec.json.encode(body)
    return await server.request("PUT", path, raw, bearer=token())


async def patch(server: Server, path: str, body: Any) -> Response:
    path, raw = f"{PREFIX}{path}", msgspec.json.encode(body)
    return await server.request("PATCH", path, raw, bearer=token())


def named(answer: Any) -> dict[str, str]:
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def path_of(endpoint: Endpoint) -> str:
    path = endpoint.path.removeprefix(PREFIX)
    return re.sub(r"\{[a-z_]+\}", "x1", path.replace("{scope}", "user:x1"))


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda endpoint: endpoint.name)
@pytest.mark.gen_test
async def test_of_every_body_all_missing_and_unknown_members_are_named(
    server: Server, endpoint: Endpoint
) -> None:
    send = {"POST": post, "PUT": put, "PATCH": patch}[endpoint.method]
    answer = await send(server, path_of(endpoint), {"no_such": 1, "nor_this": 2})
    assert (answer.status, answer.code) == (422, "validation_failed"), answer
    assert endpoint.request is not None
    required = {f.encode_name for f in msgspec.structs.fields(endpoint.request) if f.required}
    assert named(answer).keys() >= required | {"no_such", "nor_this"}


@pytest.mark.gen_test
async def test_a_message_names_shape_and_meaning_together(server: Server) -> None:
    answer = await post(
        server,
        "/messages",
        {"type": "stats_update", "target": {"type": "role", "id": "boss"}, "keep": 1, "x": 2},
    )
    found = named(answer)
    assert found.keys() == {"type", "keep", "x", "target.id"}
    assert "is reserved" in found["type"]
    assert found["target.id"] == "'boss' is not one of user, manager, admin, service"
    answer = await post(server, "/messages", {"type": "stats_update", "target": {"type": "user"}})
    assert named(answer).keys() == {"type", "target.id"}


@pytest.mark.gen_test
async def test_the_fields_of_a_push_type_are_named_together(server: Server) -> None:
    body = {"type": "ai_processing_status", "status": "thinking", "connections": 1, "ttl_s": 5}
    answer = await post(server, "/users/u1/messages", body)
    found = named(answer)
    assert found.keys() == {"session_id", "status", "connections", "ttl_s"}
    assert found["status"] == (
        "'thinking' is not one of queued, processing, streaming, completed, failed"
    )


@pytest.mark.gen_test
async def test_each_message_of_a_batch_names_its_own(server: Server) -> None:
    to = {"type": "user", "id": "u1"}
    messages = [
        {"type": "hint", "target": to},
        {"type": "Hint", "target": {"type": "user", "id": "a b"}},
        {"type": "hint", "target": {"type": "user"}},
        {"type": "hint", "target": to, "exclude_users": [""] * 50},
    ]
    answer = await post(server, "/messages/batch", {"messages": messages})
    statuses = [result["status"] for result in answer.json()["results"]]
    assert statuses == [200, 422, 422, 422]
    fields = [
        [error["field"] for error in result.get("errors", ())]
        for result in answer.json()["results"]
    ]
    assert fields[1:3] == [["messages[1].type", "messages[1].target.id"], ["messages[2].target.id"]]
    assert len(fields[3]) == 10


@pytest.mark.gen_test
async def test_a_notification_names_shape_and_meaning_together(server: Server) -> None:
    body = {"template": "risk_alert", "params": {"device_id": 5, "colour": 1}, "title": "T",
            "type": "loud", "expires_in_s": 60,
            "escalate": [{"after_s": 1, "channel": "sms"}, {"after_s": 60, "channel": "sms"}],
            "colour": "red"}  # fmt: skip
    found = named(await post(server, "/notify", body))
    assert found.keys() == {
        "user_ids", "title", "type", "colour", "escalate[1].after_s", "params.device_id",
        "params.device_name", "params.reason", "params.colour",
    }  # fmt: skip
    # Given, though bad: nothing is missing, and two kinds are too many.
    found = named(await post(server, "/notify", {"session_id": "a b", "title": "", "message": "M"}))
    assert found.keys() == {"session_id", "title"}
    found = named(await post(server, "/notify", {"session_id": "a b", "role": "admin"}))
    assert found.keys() == {"session_id", "role", "title", "message"}


@pytest.mark.gen_test
async def test_contacts_name_shape_and_meaning_together(server: Server) -> None:
    body = {
        "email": "nobody",
        "phone": "12",
        "locale": "fr",
        "quiet_hours": {"start": "22:00", "end": "06:00", "time_zone": "Mars/Base"},
    }
    found = named(await put(server, "/users/u1/contacts", body))
    assert found.keys() == {"email", "phone", "locale", "quiet_hours.time_zone"}
    assert found["locale"] == "'fr' is not one of zh-CN, en"


@pytest.mark.gen_test
async def test_of_a_query_all_parameters_are_named(server: Server) -> None:
    query = "limit=0&cursor=&state=lost&channel=fax&type=loud&template=x&since=then&until=no&x=1"
    answer = await server.get(f"/notifications?{query}&x=2&user_id=a%20b")
    assert (answer.status, answer.code) == (400, "bad_request")
    found = named(answer)
    assert found.keys() == {"limit", "cursor", "state", "channel", "type", "template", "since",
                            "until", "x", "user_id"}  # fmt: skip
    assert "pending, sending, sent" in found["state"]
    assert found["channel"] == "'fax' is not one of websocket, email, sms, push"
    assert answer.json()["field"] in found
    assert "limit: " in answer.json()["detail"]


@pytest.mark.gen_test
async def test_the_path_and_the_query_are_named_together(server: Server) -> None:
    answer = await server.get("/sessions/a%20b/history?limit=x&before=-1")
    assert named(answer).keys() == {"session_id", "limit", "before"}
    answer = await server.get("/stats/history?since=x&step=y&until=z&limit=1.5")
    assert named(answer).keys() == {"since", "step", "until", "limit"}


@pytest.mark.parametrize("endpoint", WITH_QUERY, ids=lambda endpoint: endpoint.name)
@pytest.mark.gen_test
async def test_of_every_query_all_unknown_parameters_are_named(
    server: Server, endpoint: Endpoint
) -> None:
    path = endpoint.path.replace("{scope}", "user:x1").replace("{", "").replace("}", "")
    answer = await server.request("GET", f"{path}?one=1&two=2", bearer=token())
    assert (answer.status, answer.code) == (400, "bad_request"), answer
    assert named(answer).keys() >= {"one", "two"}


@pytest.mark.gen_test
async def test_the_query_and_the_body_are_named_together(server: Server) -> None:
    answer = await post(server, "/messages?limit=1", {"type": 1, "x": 2})
    assert (answer.status, answer.code) == (400, "bad_request")
    assert named(answer).keys() == {"limit", "type", "target", "x"}
    assert answer.json()["field"] == "limit"
    # A body of the right shape, refused for its meaning.
    to = {"type": "role", "id": "boss"}
    answer = await post(server, "/messages?limit=1", {"type": "stats_update", "target": to})
    assert named(answer).keys() == {"limit", "type", "target.id"}
    # Through Tornado, which the escape in the path needs.
    answer = await put(server, "/sessions/a%20b/members?x=1", {"user_ids": ["a b"], "y": 1})
    assert (answer.status, answer.code) == (400, "bad_request")
    assert named(answer).keys() == {"session_id", "x", "user_ids[0]", "y"}


@pytest.mark.gen_test
async def test_a_bad_query_with_a_body_that_is_not_json(server: Server) -> None:
    answer = await server.post("/messages?limit=1", b"{")
    assert (answer.status, answer.code) == (400, "bad_request")
    assert named(answer).keys() == {"limit", "body"}
    answer = await server.post("/messages?limit=1", b"{}")
    assert named(answer).keys() == {"limit", "type", "target"}
    answer = await server.post("/notifications/x/retry?limit=1", b'{"y": 1}')
    assert named(answer).keys() == {"limit", "y"}
    answer = await server.post("/messages?limit=1", b"")
    assert named(answer).keys() == {"limit"}
    answer = await server.post("/tokens/revoke?limit=1", b"{}")
    assert named(answer).keys() >= {"limit"}
