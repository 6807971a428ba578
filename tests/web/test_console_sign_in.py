"""The sign-in of the console: a cookie, for its own pages alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_response import Response
from tests.support.web_server import API, Server, StartServer, token
from wsserver.errors import StorageUnavailable
from wsserver.identity.claim_parser import parse_claims
from wsserver.web.api.console_sessions import HEADER, LIFETIME_S, TRUSTED_S

PATH = f"{API}/console/session"
MARK = {HEADER: "1"}


async def sign_in(server: Server, headers: dict[str, str] | None = None, **body: Any) -> Response:
    return await server.request("POST", PATH, headers=MARK | (headers or {}), **body)


def cookie_of(answer: Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


async def ask(server: Server, cookie: str, path: str = "/whoami", **headers: str) -> Response:
    asked = {"Cookie": cookie, **MARK, **headers}
    return await server.request("GET", f"{API}{path}", headers=asked)


@pytest.mark.gen_test
async def test_a_token_becomes_a_cookie(server: Server) -> None:
    answer = await sign_in(server, token=token("ops"))
    assert (answer.status, answer.json()["user_id"]) == (200, "ops")
    attributes = answer.headers["set-cookie"].split("; ")[1:]
    assert attributes[0] == f"Path={API}"
    assert attributes[2:] == ["HttpOnly", "SameSite=Strict"]
    session = await ask(server, cookie_of(answer), "/console/session")
    assert session.json() == answer.json()
    nobody = await ask(server, "", "/console/session")
    assert (nobody.json()["user_id"], nobody.json()["ends_at"]) == (None, None)
    assert {"quotas", "tasks"} <= set(nobody.json()["extensions"])
    who = (await ask(server, cookie_of(answer))).json()
    assert (who["user_id"], who["role"]) == ("ops", "admin")
    assert who["expires_at"] == answer.json()["ends_at"]


@pytest.mark.gen_test
async def test_a_ticket_works_once(server: Server) -> None:
    ticket, _ = server.system.tickets.issue(parse_claims({"sub": "ops", "exp": 4e9}))
    assert (await sign_in(server, ticket=ticket)).status == 200
    assert (await sign_in(server, ticket=ticket)).code == "token_invalid"


@pytest.mark.gen_test
async def test_the_cookie_lasts_twelve_hours_or_as_long_as_its_token(server: Server) -> None:
    now = server.context.clock.wall()
    long = await sign_in(server, token=token(exp=now + 1e6))
    short = await sign_in(server, token=token(exp=now + 600))
    ages = [int(a.headers["set-cookie"].split("; ")[2].split("=")[1]) for a in (long, short)]
    assert ages[0] == pytest.approx(LIFETIME_S, abs=30)
    assert ages[1] == pytest.approx(600, abs=30)


@pytest.mark.gen_test
async def test_over_https_the_cookie_is_secure(start_server: StartServer) -> None:
    server = await start_server(trusted_proxies=("127.0.0.1",))
    answer = await sign_in(server, {"X-Forwarded-Proto": "https"}, token=token())
    assert answer.headers["set-cookie"].endswith("; SameSite=Strict; Secure")


@pytest.mark.gen_test
async def test_a_sign_in_outlives_the_server(start_server: StartServer, tmp_path: Any) -> None:
    database = tmp_path / "shared.sqlite3"
    server = await start_server(database=database)
    cookie = cookie_of(await sign_in(server, token=token("ops")))
    await server.stop()
    again = await start_server(database=database)
    assert (await ask(again, cookie)).json()["user_id"] == "ops"


@pytest.mark.gen_test
async def test_a_cookie_alone_is_no_credential(server: Server) -> None:
    cookie = cookie_of(await sign_in(server, token=token()))
    plain = await server.request("GET", f"{API}/whoami", headers={"Cookie": cookie})
    assert plain.code == "token_missing"
    assert (await server.upgrade(headers={"Cookie": cookie, **MARK})).response.status == 101
    frame = await server.sockets[-1].frame()
    assert frame[0] == 8  # closed: sockets need a ticket
    other = await ask(server, cookie, Origin="http://app.example")
    assert other.code == "origin_forbidden"
    both = {"Cookie": cookie, **MARK, "Authorization": "Bearer x.y.z"}
    assert (await server.request("GET", f"{API}/whoami", headers=both)).code == "token_invalid"


@pytest.mark.gen_test
async def test_an_allowed_page_of_another_origin_cannot_use_the_sign_in(
    start_server: StartServer,
) -> None:
    page = "http://app.example"
    server = await start_server(allowed_origins=(page,))
    cookie = cookie_of(await sign_in(server, token=token()))
    assert (await ask(server, cookie, Origin=page)).code == "origin_forbidden"
    refused = await sign_in(server, {"Origin": page}, token=token())
    assert (refused.code, refused.headers.get("set-cookie")) == ("origin_forbidden", None)
    asked = {"Origin": page, "Access-Control-Request-Method": "GET"}
    allowed = await server.request("OPTIONS", f"{API}/whoami", headers=asked)
    assert HEADER.lower() not in allowed.headers["access-control-allow-headers"].lower()
    own = f"http://127.0.0.1:{server.port}"
    assert (await ask(server, cookie, Origin=own)).status == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({HEADER: ""}, "forbidden"),
        ({"Content-Type": "text/plain"}, "unsupported_media_type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "unsupported_media_type"),
        ({"Origin": "null"}, "origin_forbidden"),
    ],
)
@pytest.mark.gen_test
async def test_no_form_and_no_foreign_page_can_sign_in(
    server: Server, headers: dict[str, str], code: str
) -> None:
    assert (await sign_in(server, headers, token=token())).code == code


@pytest.mark.gen_test
async def test_faults_of_the_body_are_named(server: Server) -> None:
    both = await sign_in(server, token=token(), ticket="t")
    assert both.code == "auth_ambiguous"
    none = await server.request("POST", PATH, b"{}", headers=MARK)
    assert none.code == "token_missing"
    wrong = await sign_in(server, token=1, tickets="x")
    assert {each["field"] for each in wrong.json()["errors"]} == {"token", "tickets"}
    assert (await server.request("PUT", PATH, b"{}", headers=MARK)).status == 405


@pytest.mark.gen_test
async def test_signing_out_ends_the_sign_in(server: Server) -> None:
    cookie = cookie_of(await sign_in(server, token=token("ops")))
    ended = await server.request("DELETE", PATH, headers={"Cookie": cookie, **MARK})
    assert ended.json() == {"signed_out": True}
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert (await ask(server, cookie)).code == "token_invalid"
    again = await server.request("DELETE", PATH, headers={"Cookie": cookie, **MARK})
    assert again.json() == {"signed_out": False}
    await server.context.audit._database.settle()
    entries = (await server.get("/audit")).json()["entries"]
    shown = [(each["actor"], each["action"]) for each in entries]
    assert shown == [("ops", "console_sign_out"), ("ops", "console_sign_in")]


@pytest.mark.gen_test
async def test_a_revoked_user_is_signed_out(server: Server) -> None:
    cookie = cookie_of(await sign_in(server, token=token("ops")))
    await server.post("/tokens/revoke", user_id="ops")
    assert (await ask(server, cookie)).code == "token_revoked"


@pytest.mark.gen_test
async def test_a_sign_in_expires(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = cookie_of(await sign_in(server, token=token("ops")))
    clock = server.context.clock
    wall = clock.wall
    monkeypatch.setattr(clock, "wall", lambda: wall() + 3700)
    assert (await ask(server, cookie)).code == "token_expired"


@pytest.mark.gen_test
async def test_a_permission_is_needed_as_with_the_token(server: Server) -> None:
    cookie = cookie_of(await sign_in(server, token=token("m", "manager", organization_id="o1")))
    assert (await ask(server, cookie, "/stats")).status == 200
    assert (await ask(server, cookie, "/audit")).code == "forbidden"


@pytest.mark.parametrize(
    "cookie", ["", "=", "{name}=", "{name}=short", "{name}={value}; {name}={value}", "x={value}"]
)
@pytest.mark.gen_test
async def test_other_cookies_are_none(server: Server, cookie: str) -> None:
    _, _, value = cookie_of(await sign_in(server, token=token())).partition("=")
    name = server.context.console_sessions.cookie_name
    answer = await ask(server, cookie.format(name=name, value=value))
    assert answer.code == "token_missing"


@pytest.mark.gen_test
async def test_the_database_is_asked_again_after_a_moment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node may have ended the sign-in."""
    cookie = cookie_of(await sign_in(server, token=token("ops")))
    assert (await ask(server, cookie)).status == 200
    sessions = server.context.console_sessions
    (digest,) = sessions._read
    await sessions.store.delete(digest)
    assert (await ask(server, cookie)).status == 200
    monotonic = sessions.clock.monotonic
    monkeypatch.setattr(sessions.clock, "monotonic", lambda: monotonic() + TRUSTED_S)
    assert (await ask(server, cookie)).code == "token_invalid"


@pytest.mark.gen_test
async def test_who_is_signed_in_stays_so_while_the_database_is_away(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = cookie_of(await sign_in(server, token=token("ops")))
    await ask(server, cookie)
    other = cookie_of(await sign_in(server, token=token("ops")))
    sessions = server.context.console_sessions

    async def fail(digest: str) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(sessions.store, "get", fail)
    monotonic = sessions.clock.monotonic
    monkeypatch.setattr(sessions.clock, "monotonic", lambda: monotonic() + TRUSTED_S)
    assert (await ask(server, cookie)).status == 200
    assert (await ask(server, other)).code == "storage_unavailable"
