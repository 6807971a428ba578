"""Work that one of several nodes does: notifications, webhooks, snapshots, claims of keys."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers
from tests.support.http_provider import HttpProvider
from tests.support.provider_thread import ProviderThread
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import open_client

SNAPSHOT_S = 1.0
HOOK = "/hooks"


@pytest.fixture(scope="module")
def providers() -> Iterator[ProviderThread[HttpProvider]]:
    made = ProviderThread(HttpProvider)
    made.run(made.mail.start())
    yield made
    made.close()


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    shared_valkey: ValkeyProcess,
    providers: ProviderThread[HttpProvider],
) -> Iterator[ClusterServers]:
    """A cluster of two nodes, for all tests of the module."""
    shared_valkey.run("FLUSHALL")
    database_url = postgres.create_database(is_empty=True)
    made = ClusterServers(
        tmp_path_factory.mktemp("cluster"),
        database_url,
        shared_valkey.url,
        smtp_url=f"smtp://127.0.0.1:{providers.mail.port}",
        mail_from="notify@shop.example",
        email_rate=1000,
        webhook_urls=providers.provider.url(f"{HOOK}#notification_sent"),
        webhook_secret="of-the-tests-0123456789",
        allow_loopback_urls=True,
        delivery_backoff_s=0.05,
        digest_limit=3,
        digest_window_s=4,
        default_locale="en",
        snapshot_interval_s=SNAPSHOT_S,
    )
    try:
        made.start("n1")
        made.start("n2")
        yield made
        made.stop()
    finally:
        made.kill()
        postgres.drop_database(database_url)


@pytest.fixture
def pair(servers: ClusterServers, providers: ProviderThread[HttpProvider]) -> list[RunningServer]:
    """Both nodes; what the providers have received so far is forgotten."""
    providers.sink.mails.clear()
    providers.provider.requests.clear()
    return [servers.nodes["n1"], servers.nodes["n2"]]


def enter(server: RunningServer, user_id: str) -> None:
    answer = server.put(f"/users/{user_id}/contacts", {"email": f"{user_id}@shop.example"})
    assert answer.status == 200, answer


def notify(server: RunningServer, user_id: str, **body: Any) -> str:
    answer = server.post("/notify", {"user_ids": [user_id], "channels": ["email"], **body})
    assert answer.status == 202, answer
    return str(answer.json()["notification_id"])


def in_parallel(pair: list[RunningServer], count: int, work: Callable[..., Any]) -> list[Any]:
    """Call ``work(server, number)`` for each number, on both nodes in turn, eight at once."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda number: work(pair[number % 2], number), range(count)))


def until_done(server: RunningServer, notification_id: str, **states: int) -> None:
    poll(
        lambda: server.get(f"/notifications/{notification_id}").json()["states"],
        lambda found: found == states,
    )


def subjects(providers: ProviderThread[HttpProvider]) -> Counter[str]:
    return Counter(str(mail["Subject"]) for mail in providers.sink.mails)


async def open_gate(provider: HttpProvider) -> None:
    provider.gate.set()


def test_each_mail_and_webhook_of_two_busy_nodes_goes_once(
    pair: list[RunningServer], providers: ProviderThread[HttpProvider]
) -> None:
    enter(pair[0], "u1")
    # So that events go to the other node, too.
    monitor = open_client(pair[1], "/ws/admin/monitor", bearer=token("watcher", role="admin"))
    names = in_parallel(
        pair, 40, lambda server, number: notify(server, "u1", title=f"no {number}", message="x")
    )
    for number, name in enumerate(names):
        until_done(pair[1 - number % 2], name, sent=1)
    poll(lambda: pair[0].get("/webhooks/deliveries").json()["total"], lambda total: total == 0)
    assert subjects(providers) == {f"no {number}": 1 for number in range(40)}
    posted = Counter(
        json.loads(each.body)["notification_id"] for each in providers.provider.requests
    )
    assert posted == dict.fromkeys(names, 1)
    monitor.close()


def test_an_escalation_goes_once_and_not_after_an_acknowledgement_on_the_other_node(
    pair: list[RunningServer], providers: ProviderThread[HttpProvider]
) -> None:
    for user_id in ("u2", "absent"):
        enter(pair[0], user_id)
    client = open_client(pair[1], bearer=token("u2"))
    body = {
        "user_ids": ["u2", "absent"],
        "channels": ["websocket"],
        "escalate": [{"after_s": 1.5, "channel": "email"}],
    }
    name = notify(pair[0], "", title="t", message="m", **body)
    push = client.await_push("notification")
    assert client.call("ack", ids=[push["id"]])["acknowledged"] == 1
    until_done(pair[1], name, delivered=1, cancelled=1, sent=2)
    assert [mail["To"] for mail in providers.sink.mails] == ["absent@shop.example"]
    client.close()


def test_a_digest_counts_what_both_nodes_were_given(
    pair: list[RunningServer], providers: ProviderThread[HttpProvider]
) -> None:
    enter(pair[0], "u3")
    params = {"summary": "x"}
    in_parallel(
        pair,
        12,
        lambda server, number: notify(server, "u3", template="feature_update", params=params),
    )
    poll(
        lambda: {
            tuple(sorted(each["states"].items()))
            for each in pair[0].get("/notifications?user_id=u3&limit=100").json()["notifications"]
        },
        lambda found: found == {(("sent", 1),)},
    )
    assert len(providers.sink.mails) == 4  # three, and one for the other nine


def test_a_warning_goes_once_a_period(
    pair: list[RunningServer], providers: ProviderThread[HttpProvider]
) -> None:
    enter(pair[0], "u4")
    body = {
        "user_ids": ["u4"],
        "channels": ["email"],
        "template": "cost_warning",
        "params": {"used": 85, "quota": 100, "period": "2026-11"},
    }
    answers = in_parallel(pair, 8, lambda server, _: server.post("/notify", body).json())
    sent = {each["notification_id"] for each in answers} - {None}
    assert len(sent) == 1
    until_done(pair[0], sent.pop(), sent=1)
    assert len(providers.sink.mails) == 1


def test_a_key_is_used_once_on_whichever_node(
    pair: list[RunningServer], providers: ProviderThread[HttpProvider]
) -> None:
    enter(pair[0], "u5")
    body = {"user_ids": ["u5"], "channels": ["email"], "title": "t", "message": "m"}

    def send(server: RunningServer, number: int) -> Any:
        key = {"Idempotency-Key": f"key {number // 4}"}
        return server.post("/notify", body, headers=key)

    answers = in_parallel(pair, 40, send)
    assert {answer.status for answer in answers} <= {202, 409}
    again = in_parallel(pair, 40, send)
    assert {answer.status for answer in again} == {202}
    made = {answer.json()["notification_id"] for answer in again}
    assert len(made) == 10
    first = {answer.json()["notification_id"] for answer in answers if answer.status == 202}
    assert first == made
    for name in made:
        until_done(pair[1], name, sent=1)
    assert len(providers.sink.mails) == 10


def test_a_repeated_message_is_found_on_the_other_node(pair: list[RunningServer]) -> None:
    said = {"session_id": "s1", "content": "once", "client_message_id": "c1"}
    clients = [open_client(node, bearer=token("u9", sessions=["s1"])) for node in pair]
    for client in clients:
        client.join("s1")
    first, second = (client.call("send_message", **said) for client in clients)
    assert (first["message_id"], first["offset"]) == (second["message_id"], second["offset"])
    body = {"target": {"type": "session", "id": "s1"}, "type": "new_message", "content": "hello"}
    key = {"Idempotency-Key": "of a message"}
    answers = [node.post("/messages", body, headers=key).json() for node in pair]
    assert answers[0] == answers[1]
    for client in clients:
        client.close()


def test_one_snapshot_is_taken_in_each_period(pair: list[RunningServer]) -> None:
    def taken() -> list[Any]:
        found: list[Any] = pair[1].get("/stats/history?limit=1000").json()["snapshots"]
        return found

    shots = poll(taken, lambda found: len(found) >= 4)
    sequences = [each["sequence"] for each in shots]
    assert sequences == list(range(1, len(shots) + 1))


def test_a_new_contact_is_used_by_the_other_node(
    pair: list[RunningServer], providers: ProviderThread[HttpProvider]
) -> None:
    for number, address in enumerate(("old@shop.example", "new@shop.example")):
        assert pair[number].put("/users/u6/contacts", {"email": address}).status == 200
        name = notify(pair[1 - number], "u6", title=address, message="m")
        until_done(pair[0], name, sent=1)
    assert [mail["To"] for mail in providers.sink.mails] == ["old@shop.example", "new@shop.example"]


def test_what_a_killed_node_was_sending_is_sent_by_the_other_one_which_took_nothing_before(
    servers: ClusterServers,
    pair: list[RunningServer],
    providers: ProviderThread[HttpProvider],
) -> None:
    """The last one: it restarts both nodes."""
    first, second = pair
    second.stop()
    enter(first, "u8")
    providers.provider.gate.clear()
    name = notify(first, "u8", title="t", message="m")
    requests = providers.provider.requests
    providers.until(lambda: len(requests) == 1)  # the node waits for the answer
    second = servers.start("n2")
    assert len(requests) == 1
    first.kill()
    providers.until(lambda: len(requests) == 2)
    providers.run(open_gate(providers.provider))
    poll(lambda: second.get("/webhooks/deliveries").json()["total"], lambda total: total == 0)
    assert len({each.headers["X-Wsserver-Delivery"] for each in requests}) == 1
    until_done(second, name, sent=1)
    assert len(providers.sink.mails) == 1
