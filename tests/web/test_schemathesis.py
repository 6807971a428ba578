"""Schemathesis against the OpenAPI document: no internal errors, answers conform."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.built_in import ENDPOINTS, ERRORS, TAGS
from tests.support.waiting import PATIENCE_S
from tests.support.web_server import Server, start, token
from wsserver.web.openapi.document import make_documents
from wsserver.web.sockets.event_streams import EVENT_STREAMS
from wsserver.web.sockets.sockets import SOCKETS

# Parts of uploads (tus) are bytes.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

# Of the JSON, which shares nothing with the endpoints: schemathesis changes the document.
DOCUMENTS = make_documents(ENDPOINTS, SOCKETS, EVENT_STREAMS, TAGS, ERRORS)
schema = schemathesis.openapi.from_dict(json.loads(DOCUMENTS.openapi_json))
OPERATIONS = [made.ok().label for made in schema.get_all_operations() if isinstance(made, Ok)]
"""By name only: to make the cases of all takes seconds, and every worker collects all tests."""

FEW = settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
MANY = settings(FEW, max_examples=30, phases=[Phase.explicit, Phase.generate])
"""Besides some fifty of each operation, made of the bounds in its schemas: the explicit ones."""


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """One connection for all requests."""
    with requests.Session() as made:
        made.trust_env = False  # it would look for proxies and passwords before each request
        yield made


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a thread, as schemathesis is a blocking client."""
    folder: Path = tmp_path_factory.mktemp("api")
    started = threading.Event()
    state: dict[str, object] = {}

    async def serve() -> None:
        server: Server = await start(folder)
        stop = asyncio.Event()
        state.update(url=f"http://127.0.0.1:{server.port}", stop=stop)
        state["loop"] = asyncio.get_running_loop()
        started.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(PATIENCE_S)
    yield str(state["url"])
    state["loop"].call_soon_threadsafe(state["stop"].set)  # type: ignore[attr-defined]
    thread.join(PATIENCE_S)


def answers_as_documented(
    case: schemathesis.Case[Any], base_url: str, session: requests.Session
) -> None:
    if isinstance(case.body, dict) and "timeout_s" in case.body:
        case.body["timeout_s"] = 0.01
    headers = {"Authorization": f"Bearer {token()}"}
    response = case.call(base_url=base_url, headers=headers, timeout=10, session=session)
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_is_an_internal_error(
    operation: str, base_url: str, session: requests.Session
) -> None:
    run_operation(operation, FEW, base_url, session)


@pytest.mark.long
def test_no_request_of_many_is_an_internal_error(base_url: str, session: requests.Session) -> None:
    for operation in OPERATIONS:
        run_operation(operation, MANY, base_url, session)


def run_operation(
    operation: str, chosen: settings, base_url: str, session: requests.Session
) -> None:
    method, path = operation.split()
    only = schema.include(method=method, path=path)
    (made,) = get_all_tests(
        schema=only, test_func=answers_as_documented, settings=chosen, given_kwargs=None
    )
    assert isinstance(made, Ok)
    _, test = made.ok()
    test(base_url=base_url, session=session)
