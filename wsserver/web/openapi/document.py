"""OpenAPI 3.1 document, made from the route table and the structs that validate requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from wsserver.errors import MEANINGS, Meaning
from wsserver.version import __version__
from wsserver.web.api.answers import Problem
from wsserver.web.api.context import Documents
from wsserver.web.api.endpoint import (
    PATH_PARAMETER,
    PUBLIC,
    REQUEST_ID,
    SIGNED_IN,
    Endpoint,
)
from wsserver.web.api.problems import PROBLEM_TYPE
from wsserver.web.http.replies import JSON_TYPE
from wsserver.web.openapi.page import render_page

REF_TEMPLATE = "#/components/schemas/{name}"
DESCRIPTION = """Errors are problem documents (RFC 9457) with a `code` to branch on. Lists take \
`limit` and `cursor`. Any POST with a token takes `Idempotency-Key`. `X-Request-ID` is echoed. The \
WebSocket endpoints are described under `x-websockets`, event streams under `x-event-streams`."""

_TOKEN_ERRORS = ("token_missing", "token_invalid", "token_expired", "token_revoked")
_BARE = (204, 304)
"""Statuses of answers without a body."""
_BODY_ERRORS = ("bad_json", "bad_unicode", "too_deep", "body_too_large", "unsupported_media_type")


class SocketRow(Protocol):
    """A WebSocket endpoint, or an event stream, in the API description."""

    @property
    def path(self) -> str:
        """Template with ``{names}``."""

    @property
    def access(self) -> str:
        """Required token or permission."""

    @property
    def summary(self) -> str:
        """Its purpose."""


def make_documents(
    endpoints: Sequence[Endpoint],
    sockets: Sequence[SocketRow],
    event_streams: Sequence[SocketRow],
    tags: Mapping[str, str],
    errors: Mapping[str, Meaning] = MEANINGS,
) -> Documents:
    """Render the API description; ``tags`` has the description of each tag."""
    document = build_document(endpoints, sockets, event_streams, tags, errors)
    return Documents(
        openapi=document,
        openapi_json=msgspec.json.encode(document),
        page_html=render_page(document).encode(),
    )


def build_document(
    endpoints: Sequence[Endpoint],
    sockets: Sequence[SocketRow],
    event_streams: Sequence[SocketRow],
    tags: Mapping[str, str],
    errors: Mapping[str, Meaning] = MEANINGS,
) -> dict[str, Any]:
    """The OpenAPI document, as JSON-compatible objects."""
    types = [each.request for each in endpoints if each.request is not None]
    types += [each.answer for each in endpoints if _is_struct(each.answer)]
    types = list(dict.fromkeys([Problem, *types]))
    _, components = msgspec.json.schema_components(types, ref_template=REF_TEMPLATE)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, errors)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wsserver",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": tag, "description": tags[tag]}
            for tag in dict.fromkeys(each.tag for each in endpoints)
        ],
        "paths": paths,
        "components": {
            "schemas": {name: _strict_patterns(schema) for name, schema in components.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
        "security": [{"bearer": []}],
        "x-websockets": _rows(sockets),
        "x-event-streams": _rows(event_streams),
        "x-problem-codes": {
            code: {"status": meaning.status, "title": meaning.title, "temporary": meaning.temporary}
            for code, meaning in errors.items()
        },
    }


def _rows(sockets: Sequence[SocketRow]) -> list[dict[str, str]]:
    return [{"path": each.path, "access": each.access, "summary": each.summary} for each in sockets]


def _operation(endpoint: Endpoint, errors: Mapping[str, Meaning]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": _description(endpoint),
        "tags": [endpoint.tag],
        "x-permission": endpoint.access,
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, errors),
    }
    if endpoint.access == PUBLIC:
        operation["security"] = []
    elif endpoint.is_token_optional:
        operation["security"] = [{"bearer": []}, {}]
    if endpoint.takes_body:
        schema = endpoint.raw_request if endpoint.request is None else _ref(endpoint.request)
        content: dict[str, Any] = {"schema": schema}
        if endpoint.request_example is not None:
            content["example"] = endpoint.request_example
        operation["requestBody"] = {
            "required": not endpoint.is_body_optional,
            "content": {JSON_TYPE: content},
        }
    elif endpoint.is_received:
        binary = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": False, "content": {endpoint.receives: binary}}
    return operation


def _description(endpoint: Endpoint) -> str:
    """Summary and required permission of an endpoint."""
    if endpoint.access == PUBLIC:
        needs = "Needs no token."
    elif endpoint.access == SIGNED_IN:
        needs = "Needs any valid token."
    else:
        needs = f"Needs the permission `{endpoint.access}`"
        needs += ", or no token from loopback." if endpoint.is_open_to_loopback else "."
    return f"{endpoint.summary}. {needs}"


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _inline(endpoint.part_type(name)),
        }
        for name in PATH_PARAMETER.findall(endpoint.path)
    ]
    parameters += _query_parameters(endpoint.query)
    parameters.append(
        {
            "name": "X-Request-ID",
            "in": "header",
            "description": "Echoed in the answer and the log; generated if missing or malformed.",
            "schema": {"type": "string", "pattern": f"^{REQUEST_ID}$"},
        }
    )
    parameters += [
        {
            "name": name,
            "in": "header",
            "description": description,
            "required": True,
            "schema": {"type": "string"},
        }
        for name, description in endpoint.request_headers.items()
    ]
    if endpoint.takes_idempotency_key:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "With the same key and body within 24 h: the first answer again.",
                "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
            }
        )
    return parameters


def _query_parameters(kind: type[Struct]) -> list[dict[str, Any]]:
    schema = _inline(kind)
    required = schema.get("required", [])
    parameters = []
    for name, described in schema.get("properties", {}).items():
        described = dict(described)
        if "anyOf" in described:  # optional: a query has no null
            (described,) = [each for each in described["anyOf"] if each.get("type") != "null"]
        described.pop("default", None) if described.get("default", 0) is None else None
        parameter = {"name": name, "in": "query", "required": name in required}
        if "description" in described:
            parameter["description"] = described.pop("description")
        parameters.append({**parameter, "schema": described})
    return parameters


def _responses(endpoint: Endpoint, errors: Mapping[str, Meaning]) -> dict[str, Any]:
    answer: dict[str, Any] = {"headers": _headers()}
    if isinstance(endpoint.answer, str):
        answer["content"] = {
            each.partition(";")[0].strip(): {"schema": {"type": "string"}}
            for each in endpoint.answer.split(",")
        }
    else:
        content = {"schema": _ref(endpoint.answer)}
        if endpoint.answer_example is not None:
            content["example"] = endpoint.answer_example
        answer["content"] = {JSON_TYPE: content}
    bare = {"headers": answer["headers"]}
    responses = {
        str(status): {"description": text, **(bare if status in _BARE else answer)}
        for status, text in endpoint.statuses.items()
    }
    for status, codes in sorted(_errors(endpoint, errors).items()):
        if endpoint.tag == "Server" and status == 503 and "draining" in endpoint.errors:
            responses["503"] = {**answer, "description": "Starting, draining or full"}
            continue
        responses[str(status)] = {
            "description": ", ".join(f"`{code}`" for code in codes),
            "headers": _headers(),
            "content": {PROBLEM_TYPE: {"schema": _ref(Problem)}},
        }
    return responses


def _errors(endpoint: Endpoint, errors: Mapping[str, Meaning]) -> dict[int, list[str]]:
    """Error codes of an endpoint by status."""
    codes = ["bad_request", "origin_forbidden", "method_not_allowed", "internal_error"]
    if not endpoint.takes_any_host:
        codes.append("host_forbidden")
    if endpoint.access != PUBLIC:
        codes += _TOKEN_ERRORS
    if endpoint.access not in (PUBLIC, SIGNED_IN) or endpoint.takes_body:
        codes.append("forbidden")
    if endpoint.takes_body:
        codes += [*_BODY_ERRORS, "validation_failed", "request_timeout", "storage_unavailable"]
    elif endpoint.method == "POST":
        codes += ["bad_json", "bad_unicode", "too_deep", "validation_failed"]
    if endpoint.method == "POST":
        codes.append("storage_full")
    if endpoint.takes_idempotency_key:
        codes += ["idempotency_conflict", "idempotency_pending", "idempotency_limit"]
    if not endpoint.is_served_at_start:
        codes.append("starting")
    codes += endpoint.errors
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(errors[code].status, []).append(code)
    return by_status


def _headers() -> dict[str, Any]:
    return {"X-Request-ID": {"schema": {"type": "string"}}}


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _ref(kind: Any) -> dict[str, Any]:
    if not _is_struct(kind):
        return {"type": "object"}
    return {"$ref": REF_TEMPLATE.format(name=kind.__name__)}


def _inline(kind: Any) -> dict[str, Any]:
    """JSON Schema of a type, without references."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template=REF_TEMPLATE)
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    inlined: dict[str, Any] = _strict_patterns(schema)
    return inlined


def _strict_patterns(schema: Any) -> Any:
    """Patterns in ECMA-262 syntax, where ``$`` matches the end of the text only."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"(?!\n)$", "$")
            if key == "pattern" and isinstance(value, str)
            else _strict_patterns(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_strict_patterns(each) for each in schema]
    return schema
