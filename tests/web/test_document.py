"""OpenAPI document: valid, complete, consistent with the served routes."""

from __future__ import annotations

import asyncio
import json
import re
from html import escape
from typing import Any

import jsonschema_rs
import pytest

from tests.support.built_in import ENDPOINTS, ERRORS, TAGS
from tests.support.web_server import Server, token
from wsserver.errors import MEANINGS
from wsserver.web.api.context import Documents, LazyDocuments
from wsserver.web.openapi.document import make_documents
from wsserver.web.sockets.event_streams import EVENT_STREAMS
from wsserver.web.sockets.sockets import SOCKETS

DOCUMENTS = make_documents(ENDPOINTS, SOCKETS, EVENT_STREAMS, TAGS, ERRORS)
DOCUMENT: dict[str, Any] = json.loads(DOCUMENTS.openapi_json)


@pytest.mark.gen_test
async def test_it_is_served_without_a_token(server: Server) -> None:
    answer = await server.request("GET", "/api/v1/openapi.json")
    assert answer.status == 200
    assert answer.json() == DOCUMENT
    assert answer.json()["openapi"].startswith("3.1")


def test_it_has_every_route_and_no_other() -> None:
    described = {
        (method.upper(), path)
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
    }
    assert described == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    names = [op["operationId"] for ops in DOCUMENT["paths"].values() for op in ops.values()]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    text = DOCUMENTS.openapi_json.decode()
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert used == set(DOCUMENT["components"]["schemas"])


def test_its_schemas_are_json_schema_and_take_their_examples() -> None:
    components = DOCUMENT["components"]
    for name in components["schemas"]:
        validator = jsonschema_rs.validator_for(
            {"$ref": f"#/components/schemas/{name}", "components": components}
        )
        assert validator is not None
    examples = 0
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            done = [answer for status, answer in operation["responses"].items() if status < "300"]
            contents = [answer["content"] for answer in done if "content" in answer]
            if "requestBody" in operation:
                contents.append(operation["requestBody"]["content"])
            for content in contents:
                for described in content.values():
                    if "example" in described:
                        examples += 1
                        schema = {**described["schema"], "components": components}
                        jsonschema_rs.validate(schema, described["example"])
    assert examples > 15


def test_every_tag_and_every_operation_is_described_and_used() -> None:
    used = {tag for ops in DOCUMENT["paths"].values() for op in ops.values() for tag in op["tags"]}
    assert {tag["name"] for tag in DOCUMENT["tags"]} == used == set(TAGS)
    page = DOCUMENTS.page_html.decode()
    for tag in DOCUMENT["tags"]:
        assert len(tag["description"]) > 20
        assert escape(tag["description"]) in page
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            assert operation["description"].startswith(operation["summary"])
    explain = DOCUMENT["paths"]["/api/v1/websocket/messages/explain"]["post"]
    assert explain["description"].endswith(" Needs the permission `messages:publish`.")


def test_parameters_have_their_limits() -> None:
    operation = DOCUMENT["paths"]["/api/v1/websocket/connections"]["get"]
    by_name = {each["name"]: each for each in operation["parameters"]}
    limit = by_name["limit"]["schema"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 1000, 100)
    assert by_name["endpoint"]["schema"]["enum"] == ["chat", "monitor", "session"]
    pattern = r"^(?!\.{1,2}$)[A-Za-z0-9._:@|+-]{1,128}$"
    assert by_name["user_id"]["schema"]["pattern"] == pattern
    post = DOCUMENT["paths"]["/api/v1/websocket/broadcast"]["post"]
    assert "Idempotency-Key" in {each["name"] for each in post["parameters"]}


def test_public_endpoints_need_no_token() -> None:
    for endpoint in ENDPOINTS:
        operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
        assert (operation.get("security") == []) is (endpoint.access == "public")
        assert ("401" in operation["responses"]) is (endpoint.access != "public")


@pytest.mark.gen_test
async def test_the_page_is_readable_and_self_contained(server: Server) -> None:
    for path in ("/api/v1/docs", "/"):
        answer = await server.request("GET", path)
        text = answer.body.decode()
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "<script" not in text
        assert "style=" not in text
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    page = DOCUMENTS.page_html.decode()
    for endpoint in ENDPOINTS:
        assert f"<code>{endpoint.path}</code>" in page
    for code in MEANINGS:
        assert f'id="{code}"' in page
    style = await server.request("GET", "/api/v1/docs.css")
    assert style.headers["content-type"].startswith("text/css")


@pytest.mark.gen_test
async def test_a_problem_type_leads_to_its_place_in_the_page(server: Server) -> None:
    problem = (await server.get("/audit", bearer=token("u", "user"))).json()
    path, _, anchor = problem["type"].partition("#")
    page = await server.request("GET", path)
    assert f'id="{anchor}"'.encode() in page.body


@pytest.mark.gen_test
async def test_it_is_rendered_once_when_it_is_first_asked_for() -> None:
    rendered: list[Documents] = []

    def render() -> Documents:
        rendered.append(DOCUMENTS)
        return DOCUMENTS

    documents = LazyDocuments(render)
    assert rendered == []
    gone = asyncio.ensure_future(documents.get())
    asked = [asyncio.ensure_future(documents.get()) for _ in range(2)]
    await asyncio.sleep(0)
    gone.cancel()
    assert await asyncio.gather(*asked, documents.get()) == [DOCUMENTS] * 3
    assert rendered == [DOCUMENTS]
