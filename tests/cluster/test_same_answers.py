"""Every GET of the API, asked at both nodes: what was made at one is seen the same at the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers
from tests.support.http_provider import Answer, HttpProvider
from tests.support.provider_thread import ProviderThread
from tests.support.running_server import ADMIN, API, RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import Client, open_client

USERS = {"ann": "n1", "bob": "n2"}
"""Each on one node; both are members of a session."""


ANN = token("ann", organization_id="o1")


class World(NamedTuple):
    """Two nodes, and the ids of what is there, by the name of the part of a path."""

    n1: RunningServer
    n2: RunningServer
    ids: dict[str, str]


@pytest.fixture(scope="module")
def outside() -> Iterator[ProviderThread[HttpProvider]]:
    """Providers that refuse everything for now, so that deliveries wait."""
    made = ProviderThread(HttpProvider)
    made.provider.answer = lambda _: Answer(503, b"{}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    shared_valkey: ValkeyProcess,
    outside: ProviderThread[HttpProvider],
) -> Iterator[World]:
    shared_valkey.run("FLUSHALL")
    database_url = postgres.create_database(is_empty=True)
    folder = tmp_path_factory.mktemp("same")
    url = outside.provider.url("/x")
    settings: dict[str, dict[str, Any]] = {
        "accounts__main": {
            "kind": "gewe",
            "url": url,
            "key": "k" * 16,
            "token": "t",
            "app_id": "a",
        },
        "responders__bot": {"kind": "openai", "url": url, "api_key": "sk-1"},
        "rules__late": {"kind": "waiting", "after_s": 3600, "notify": "user:boss"},
    }
    nodes = ClusterServers(
        folder,
        database_url,
        shared_valkey.url,
        data_dir=folder,  # the files of uploads are shared
        allow_loopback_urls=True,
        chaos=True,
        webhook_urls=f"{url}#notification_sent",
        webhook_secret="of-the-tests-0123456789",
        delivery_backoff_s=3600,
        snapshot_interval_s=1.0,
        **{
            f"{table}__{name}": value
            for table, values in settings.items()
            for name, value in values.items()
        },
    )
    clients: list[Client] = []
    try:
        n1, n2 = nodes.start("n1"), nodes.start("n2")
        yield World(n1, n2, fill(n1, n2, clients))
        for client in clients:
            client.close()
        nodes.stop()
    finally:
        nodes.kill()
        postgres.drop_database(database_url)


def fill(n1: RunningServer, n2: RunningServer, clients: list[Client]) -> dict[str, str]:
    """Make something for every path, the most of it at the first node; returns the ids."""
    members = list(USERS)
    n1.put("/sessions/s1/members", {"user_ids": members}).ok  # noqa: B018
    for user, name in USERS.items():
        client = open_client({"n1": n1, "n2": n2}[name], bearer=token(user, organization_id="o1"))
        client.established = client.push("connection_established")
        client.join("s1")
        clients.append(client)
    said = clients[0].call("send_message", session_id="s1", content="hello from ann")
    answer = n1.post("/sessions/s1/answers", {"content": "grows"})
    n1.post(f"/answers/{answer.ok['message_id']}/append", {"seq": 1, "text": " on"}).ok  # noqa: B018
    kept = n1.post("/users/ann/messages", {"type": "note", "data": 1, "keep": True})
    assert (answer.status, kept.status) == (200, 200), (answer, kept)
    n1.put("/users/ann/contacts", {"email": "ann@shop.example"}).ok  # noqa: B018
    n1.patch("/users/ann/preferences", {"mute": ["low"]})
    sent = n1.post("/notify", {"user_ids": members, "title": "t", "message": "m"})
    recording = n1.post("/recordings", {"user_id": "ann", "duration_s": 300})
    n1.put("/users/ann/chaos", {"delay_ms": 1}).ok  # noqa: B018
    quota = {"limit": 100, "unit": "tokens", "period": "total", "at_limit": "stop"}
    n1.put("/quotas/organization:o1", quota).ok  # noqa: B018
    n1.post("/usage", {"scope": "organization:o1", "amount": 1.5}).ok  # noqa: B018
    task = n1.post("/tasks", {"title": "t", "steps": [], "assignee": {"user": "ann"}})
    about = {"Tus-Resumable": "1.0.0", "Upload-Length": "0"}
    file = n1.post("/files", bearer=token("ann"), headers=about)
    waiting = poll(
        lambda: n1.get("/webhooks/deliveries").ok["deliveries"], lambda found: len(found) > 0
    )
    return {
        "user_id": "ann",
        "session_id": "s1",
        "connection_id": clients[0].id,
        "message_id": said["message_id"],
        "answer_id": answer.ok["message_id"],
        "notification_id": sent.json()["notification_id"],
        "recording_id": recording.ok["recording_id"],
        "delivery_id": waiting[0]["delivery_id"],
        "task_id": task.json()["task_id"],
        "file_id": file.json()["file_id"],
        "scope": "organization:o1",
        "node": "n1",
        "account": "main",
        "responder": "bot",
    }


QUERIES = {
    f"{API}/search": "?query=hello",
    f"{API}/connections": "?session_id=s1",
    f"{API}/sessions": "?state=open",
    f"{API}/users/{{user_id}}/unread": "?messages=5",
}
"""Of paths that need one, or that filters make another list of."""

OF_ITS_NODE = {f"{API}/diagnostics", f"{API}/health", "/metrics"}
"""A node answers for itself: ``?node=`` of the first one names another, monitoring asks each."""

CHANGING = {
    *("at", "until", "uptime_s", "messages_sent", "rates", "deliver_ms", "rtt_ms", "url"),
    *("server_time", "expires_at", "acknowledged_ms", "answered_ms"),
}
"""Members that differ from one moment to the next, of whichever node."""

MAY_BE_EMPTY = {
    f"{API}/whoami",
    f"{API}/users/{{user_id}}/contacts",
    f"{API}/accounts/{{account}}",
    f"{API}/responders/{{responder}}",
}
"""Objects; all other lists have to have something, as else they would be compared for nothing."""

UNORDERED = {"recipients"}
"""Lists whose order means nothing."""


def test_every_list_and_object_is_the_same_at_both_nodes(world: World) -> None:
    nodes = (world.n1, world.n2)
    for path in paths(world.n1):

        def answers(path: str = path) -> tuple[str, Any, Any]:
            one, two = (ask(node, path, world.ids) for node in nodes)
            return path, one, two

        def is_settled(found: tuple[str, Any, Any]) -> bool:
            """What was just made may still be on its way, to both of them."""
            path, one, two = found
            return one == two and (path in MAY_BE_EMPTY or not is_empty(one))

        poll(answers, is_settled)


def paths(node: RunningServer) -> list[str]:
    """All that can be read, of extensions too."""
    document = node.request("GET", "/api/v1/openapi.json").ok
    found = [path for path, item in document["paths"].items() if "get" in item]
    assert len(found) > 50
    return [path for path in found if path not in OF_ITS_NODE]


def ask(node: RunningServer, path: str, ids: dict[str, str]) -> Any:
    """What a node answers, without what changes anyway."""
    names = {**ids, "message_id": ids["answer_id"]} if "/answers/" in path else ids
    asked = path.format(**names) + QUERIES.get(path, "")
    answer = node.request("GET", asked, bearer=ANN if path.endswith("/whoami") else ADMIN)
    assert answer.status == 200, (asked, answer)
    is_json = answer.headers["content-type"].startswith("application/json")
    return comparable(answer.json()) if is_json else answer.body


def comparable(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        kept = value.keys() - CHANGING
        return {each: comparable(value[each], each) for each in sorted(kept)}
    if isinstance(value, list):
        found = [comparable(each) for each in value]
        return sorted(found, key=json.dumps) if name in UNORDERED else found
    return value


def is_empty(answer: Any) -> bool:
    """Whether it is a list without an item, which says nothing about the other node."""
    members = answer.values() if isinstance(answer, dict) else ()
    lists = [each for each in members if isinstance(each, list)]
    return len(lists) > 0 and not any(lists)
