"""§6, §11: permissions of the roles over REST, and the limits of a manager."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.websocket_clients import Client

TOKENS = {
    "admin": token("an-admin", role="admin"),
    "service": token("a-service", role="service"),
    "manager": token("a-manager", role="manager", organization_id="acme"),
    "homeless": token("no-organization", role="manager"),
    "user": token("a-user", organization_id="acme"),
    "narrowed": token("narrow", role="admin", permissions=["stats:read"]),
}
NEWS = {"type": "news"}
TO_SOMEBODY = {**NEWS, "target": {"type": "user", "id": "somebody"}}

ROWS: list[tuple[str, str, object, str]] = [
    # method, path, body, the roles that may
    ("GET", "/stats", None, "admin service manager narrowed"),
    ("GET", "/stats/history", None, "admin service manager narrowed"),
    ("GET", "/connections", None, "admin service manager"),
    ("GET", "/online-users", None, "admin service manager"),
    ("GET", "/users/somebody/connections", None, "admin service manager"),
    ("GET", "/sessions", None, "admin service manager"),
    ("GET", "/sessions/kept/connections", None, "admin service manager"),
    ("POST", "/ping/somebody", {}, "admin service manager"),
    ("POST", "/users/disconnect", {"user_id": "somebody"}, "admin"),
    ("GET", "/sessions/kept/history", None, "admin service manager"),
    ("GET", "/sessions/kept/members", None, "admin service"),
    ("PUT", "/sessions/kept/members", {"user_ids": ["somebody"]}, "admin service"),
    ("POST", "/broadcast", NEWS, "admin service manager"),
    ("POST", "/messages", TO_SOMEBODY, "admin service manager"),
    ("POST", "/users/somebody/messages", NEWS, "admin service manager"),
    ("POST", "/sessions/kept/messages", NEWS, "admin service manager"),
    ("POST", "/messages/batch", {"messages": [TO_SOMEBODY]}, "admin service manager"),
    ("GET", "/messages/msg_none", None, "admin service manager"),
    ("POST", "/messages/explain", TO_SOMEBODY, "admin service manager"),
    ("GET", "/whoami", None, "admin service manager homeless user narrowed"),
    ("GET", "/diagnostics", None, "admin service manager narrowed"),
    ("POST", "/tokens/revoke", {"jti": "none"}, "admin"),
    ("GET", "/audit", None, "admin"),
    ("POST", "/tickets", {}, "admin service manager homeless user narrowed"),
]


@pytest.mark.parametrize(("method", "path", "body", "allowed"), ROWS, ids=lambda v: str(v)[:30])
def test_each_role_may_do_what_the_table_says(
    server: RunningServer, method: str, path: str, body: object, allowed: str
) -> None:
    url = f"/api/v1/websocket{path}"
    server.put("/users/somebody/contacts", {"organization_id": "acme"})
    server.put("/sessions/kept/members", {"user_ids": ["somebody"]})
    for role, bearer in TOKENS.items():
        answer = server.request(method, url, body, bearer=bearer)
        if role in allowed.split():
            assert answer.status == (404 if "msg_none" in path else 200), (role, answer)
        elif (role, path) == ("homeless", "/messages/batch"):
            assert answer.ok["results"][0]["status"] == 403  # each is judged by itself
        else:
            assert answer.problem == (403, "forbidden"), role
    assert server.request(method, url, body).problem == (401, "token_missing")
    bad = server.request(method, url, body, bearer="nonsense")
    assert bad.problem == (401, "token_invalid")
    assert "Bearer" in bad.headers["www-authenticate"]


class Tenants:
    """Two organizations, and a manager of one of them."""

    def __init__(self, server: RunningServer, connect: Connect) -> None:
        self.server = server
        self.manager = TOKENS["manager"]
        self.mine = connect("mine", sessions="*", organization_id="acme")
        self.theirs = connect("theirs", sessions="*", organization_id="other")
        self.nobodys = connect("nobodys", sessions="*")
        self.mine.join("ours")
        self.nobodys.join("ours")
        self.theirs.join("foreign")
        for client in (self.mine, self.theirs, self.nobodys):
            client.rest()

    def users(self, path: str, name: str) -> set[str]:
        return {each["user_id"] for each in self.server.get(path, self.manager).ok[name]}


@pytest.fixture
def tenants(server: RunningServer, connect: Connect) -> Tenants:
    return Tenants(server, connect)


def test_a_managers_lists_show_its_organization_alone(tenants: Tenants) -> None:
    assert tenants.users("/connections", "connections") == {"mine"}
    for query in ("organization_id=other", "user_id=theirs", "session_id=foreign"):
        answer = tenants.server.get(f"/connections?{query}", tenants.manager)
        assert answer.problem == (403, "forbidden")
    assert tenants.users("/online-users", "users") == {"mine"}
    assert tenants.users("/sessions/ours/connections", "connections") == {"mine"}
    sessions = tenants.server.get("/sessions", tenants.manager).ok
    assert [each["session_id"] for each in sessions["sessions"]] == ["ours"]
    assert sessions["total"] == 1
    stats = tenants.server.get("/stats", tenants.manager).ok
    assert (stats["total_connections"], stats["active_users"], stats["active_sessions"]) == (
        1,
        1,
        1,
    )


def test_a_session_is_its_organizations_and_its_customers(tenants: Tenants) -> None:
    tenants.theirs.join("ours")
    for client in (tenants.mine, tenants.theirs, tenants.nobodys):
        client.rest()
    assert tenants.users("/sessions/ours/connections", "connections") == {"mine"}
    assert tenants.users("/sessions/ours", "users") == {"mine", "nobodys"}
    assert tenants.server.get("/sessions/ours", tenants.manager).ok["connections"] == 2
    explained = tenants.server.post(
        "/messages/explain", {**NEWS, "target": {"type": "session", "id": "ours"}}, tenants.manager
    ).ok
    assert "theirs" not in str(explained)
    assert tenants.server.post("/sessions/ours/messages", NEWS, tenants.manager).ok["matched"] == 2
    assert heard(tenants.mine)
    assert heard(tenants.nobodys)
    assert not heard(tenants.theirs)
    assert tenants.server.post("/sessions/ours/messages", NEWS).ok["matched"] == 3


@pytest.mark.parametrize(
    "path",
    [
        "/users/theirs/connections",
        "/sessions/foreign",
        "/sessions/foreign/connections",
        "/connections/{theirs}",
    ],
)
def test_what_is_outside_is_not_there(tenants: Tenants, path: str) -> None:
    path = path.replace("{theirs}", tenants.theirs.id)
    assert tenants.server.get(path, tenants.manager).problem == (404, "not_found")
    assert tenants.server.get(path).status == 200  # it is, for an administrator


def test_pinging_outside(tenants: Tenants) -> None:
    assert tenants.server.post("/ping/theirs", {}, tenants.manager).problem == (404, "not_found")
    assert tenants.server.post("/ping/mine", {}, tenants.manager).ok["online"] is True


def heard(client: Client) -> bool:
    return "news" in {push["type"] for push in client.rest()}


def test_an_untargeted_broadcast_stays_inside(tenants: Tenants) -> None:
    assert tenants.server.post("/broadcast", NEWS, tenants.manager).ok["matched"] == 1
    target = {**NEWS, "target": {"type": "broadcast"}}
    assert tenants.server.post("/messages", target, tenants.manager).ok["matched"] == 1
    assert heard(tenants.mine)
    assert not heard(tenants.theirs)
    assert not heard(tenants.nobodys)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/broadcast", {"organization_id": "other"}),
        ("/messages", {"target": {"type": "user", "id": "theirs"}}),
        ("/messages", {"target": {"type": "session", "id": "foreign"}}),
        ("/messages", {"target": {"type": "organization", "id": "other"}}),
        ("/messages", {"target": {"type": "connection", "id": "{theirs}"}}),
        ("/messages/explain", {"target": {"type": "user", "id": "theirs"}}),
        ("/messages/explain", {"target": {"type": "session", "id": "foreign"}}),
    ],
)
def test_naming_what_is_outside_is_forbidden(
    tenants: Tenants, path: str, body: dict[str, dict[str, str]]
) -> None:
    if body.get("target", {}).get("type") == "connection":
        body = {"target": {"type": "connection", "id": tenants.theirs.id}}
    answer = tenants.server.post(path, {**NEWS, **body}, tenants.manager)
    assert answer.problem == (403, "forbidden")
    assert not heard(tenants.theirs)


@pytest.mark.parametrize("path", ["/users/theirs/messages", "/sessions/foreign/messages"])
def test_what_is_outside_does_not_exist_in_a_path(tenants: Tenants, path: str) -> None:
    assert tenants.server.post(path, NEWS, tenants.manager).problem == (404, "not_found")
    assert not heard(tenants.theirs)


def test_inside_it_may_publish_to_everything(tenants: Tenants) -> None:
    for target, matched in (
        ({"type": "user", "id": "mine"}, 1),
        ({"type": "organization", "id": "acme"}, 1),
        ({"type": "session", "id": "ours"}, 2),  # the customer of no organization included
        ({"type": "role", "id": "user"}, 1),
        ({"type": "connection", "id": tenants.mine.id}, 1),
    ):
        body = {**NEWS, "target": target}
        assert tenants.server.post("/messages", body, tenants.manager).ok["matched"] == matched


def test_the_table_can_be_configured(start: Start) -> None:
    server = start(permissions={"user": ["stats:read"], "admin": ["audit:read"]})
    assert server.get("/audit").status == 200
    assert server.get("/stats").problem == (403, "forbidden")
    assert server.get("/stats", TOKENS["user"]).status == 200
