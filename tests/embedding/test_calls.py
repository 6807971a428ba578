"""``Server`` inside a program: its methods, and calls with wrong arguments."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.embedded_server import Make, client_of
from wsserver import (
    NotFound,
    Recipients,
    Sending,
    Server,
    ValidationFailed,
    WsServerError,
    users,
)

pytestmark = pytest.mark.gen_test


# Sending


async def test_every_target(make: Make) -> None:
    async with make() as server:
        path = "/ws/chat/session/s1"
        claims = {"role": "manager", "organization_id": "org1", "sessions": ["s1"]}
        async with client_of(server, "u1", path, **claims) as client, client_of(server, "u2"):
            await client.push("session_joined")
            (connection,) = server.connections(user_id="u1", session_id="s1")
            for number, sending in enumerate(
                (
                    server.send_to_user("u1", "note", data=0),
                    server.send_to_session("s1", "note", data=1),
                    server.send_to_organization("org1", "note", data=2),
                    server.send_to_role("manager", "note", data=3),
                    server.send_to_connection(connection.connection_id, "note", data=4),
                    server.broadcast("note", exclude_users=("u2",), data=5),
                    server.broadcast("note", organization_id="org1", role="manager", data=6),
                )
            ):
                sent = await sending
                assert (sent.matched, sent.sent, sent.failed) == (1, 1, 0)
                assert (sent.stream, sent.offset) == (None, None)
                push = await client.push("note")
                assert (push["id"], push["data"]) == (sent.message_id, number)


async def test_the_types_of_the_contract_have_their_fields(make: Make) -> None:
    async with make() as server:
        sender = {"user_id": "bob", "username": "Bob"}
        sent = await server.send_to_session("s1", "new_message", content="Hi", sender=sender)
        assert (sent.stream, sent.offset) == ("session:s1", 1), "kept without asking for it"
        with pytest.raises(ValidationFailed) as caught:
            await server.send_to_session("s1", "typing", user_id="u 1", is_typing=True, keep=True)
        assert {each["field"] for each in caught.value.details["errors"]} == {"user_id"}
        with pytest.raises(ValidationFailed, match=r"target\.id"):
            await server.send_to_session("no session", "note")
        with pytest.raises(ValidationFailed, match="reserved"):
            await server.send_to_user("u1", "connection_established")
        with pytest.raises(ValidationFailed, match="are kept"):
            await server.send_to_role("admin", "note", keep=True)
        page = await server.history("session:s1")
        assert [each["message"]["content"] for each in page["messages"]] == ["Hi"]


async def test_the_same_key_is_the_same_message(make: Make) -> None:
    async with make() as server:
        one, again, other = [
            await server.send_to_user("u1", "note", keep=True, idempotency_key=key, data=key)
            for key in ("k1", "k1", "k2")
        ]
        assert (one.message_id, one.offset) == (again.message_id, again.offset)
        assert other.offset == 2
        with pytest.raises(ValidationFailed, match="idempotency_key: only for messages"):
            await server.send_to_user("u1", "note", idempotency_key="k3")


async def test_history_by_pages(make: Make) -> None:
    async with make() as server:
        for n in range(5):
            await server.send_to_organization("org1", "note", keep=True, data=n)
        stream = "organization:org1"
        last = await server.history(stream, limit=2)
        assert [each["offset"] for each in last["messages"]] == [4, 5]
        assert last["has_more"]
        before = await server.history(stream, before=4)
        assert [each["data"] for each in before["messages"]] == [0, 1, 2]
        after = await server.history(stream, after=3, limit=1)
        assert [each["offset"] for each in after["messages"]] == [4]
        assert (await server.history("broadcast"))["messages"] == []
        for unknown in ("org1", "session:", "sesion:s1", ""):
            with pytest.raises(ValueError, match="stream"):
                await server.history(unknown)


async def test_roles_of_the_configuration_do_not_limit_the_program(make: Make) -> None:
    nothing = {"service": (), "admin": ()}
    async with make(permissions=nothing) as server:
        assert (await server.send_to_user("u1", "note")).matched == 0
        assert await server.replace_members("s1", ["u1"]) == ["u1"]
        assert await server.disconnect_user("u1") == 0
        token = server.token("backend", role="service")
        request = Request(
            f"{server.url}/api/v1/websocket/stats", headers={"Authorization": f"Bearer {token}"}
        )
        with pytest.raises(Exception, match="403"):
            await asyncio.to_thread(urlopen, request)


# Connections, members, contacts


async def test_connections_and_their_end(make: Make) -> None:
    async with make() as server:
        async with client_of(server, "u1") as one, client_of(server, "u2") as two:
            assert server.online_users() == ["u1", "u2"]
            assert (server.is_online("u1"), server.is_online("u3")) == (True, False)
            assert len(server.connections()) == 2
            assert server.connections(session_id="s1") == []
            (connection,) = server.connections(user_id="u2")
            assert await server.disconnect(connection.connection_id, 4000, "bye")
            assert await two.close_code() == 4000
            assert not await server.disconnect("conn_none")
            assert await server.disconnect_user("u1", reason="off") == 1
            assert await one.close_code() == 4502
        assert server.stats()["disconnections"] == 2


async def test_revoked_tokens(make: Make) -> None:
    async with make() as server:
        async with client_of(server) as client:
            assert await server.revoke(user_id="u1") == 1
            assert await client.close_code() == 4505
        with pytest.raises(ValidationFailed, match="exactly one"):
            await server.revoke(user_id="u1", jti="x")


async def test_members_may_enter(make: Make) -> None:
    server = make()
    async with server:
        assert await server.members("s1") == []
        assert await server.replace_members("s1", ["u1", "u2"]) == ["u1", "u2"]
        async with client_of(server, "u1", "/ws/chat/session/s1") as client:
            await client.push("session_joined")
            assert await server.replace_members("s1", []) == []
            assert await client.close_code() == 4503
    async with server:
        assert await server.members("s1") == []


async def test_contacts(make: Make) -> None:
    async with make() as server:
        put = await server.replace_contacts("u1", email="u1@example.com", organization_id="org1")
        assert put == await server.contacts("u1")
        assert (put["email"], put["organization_id"]) == ("u1@example.com", "org1")
        with pytest.raises(ValidationFailed, match="phone"):
            await server.replace_contacts("u1", phone="nobody's")
        accepted = await server.notifications.send_notification(
            Recipients(organization_id="org1"), "T", "M"
        )
        assert accepted is not None
        assert sum(accepted.states.values()) == 1


async def test_preferences(make: Make) -> None:
    async with make() as server:
        assert (await server.preferences("u1"))["channels"] == {}
        changed = await server.change_preferences("u1", channels={"*": {"sms": False}})
        assert changed["channels"] == {"*": {"sms": False}}
        assert changed == await server.preferences("u1")
        with pytest.raises(ValidationFailed, match=r"channels\.nothing"):
            await server.change_preferences("u1", channels={"nothing": {"sms": False}})


# Credentials


async def test_tokens_and_tickets_fit_the_requirements_of_the_settings(make: Make) -> None:
    strict = {
        "jwt_algorithm": ("HS512",),
        "jwt_issuer": "https://login.example.com",
        "jwt_audience": "chat",
        "jwt_user_claim": "uid",
    }
    async with make(**strict) as server:
        async with client_of(server, "u1"):
            assert server.online_users() == ["u1"]
        url = server.websocket_url(ticket=server.ticket("u2", username="Two", sessions="*"))
        async with connect(url):
            (connection,) = server.connections()
            assert (connection.user_id, connection.metadata["username"]) == ("u2", "Two")
        with pytest.raises(InvalidStatus):
            async with connect(url):
                pass
        with pytest.raises(Exception, match="role"):
            server.token("u1", role="boss")


async def test_a_server_with_a_public_key_signs_nothing(make: Make, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.generate().public_key()
    file = tmp_path / "public.pem"
    file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    async with make(jwt_secret=None, jwt_public_key_file=file) as server:
        with pytest.raises(ValueError, match="no secret"):
            server.token("u1")
        async with connect(server.websocket_url(ticket=server.ticket("u1"))):
            assert server.is_online("u1")


async def test_the_errors_are_those_of_the_rest_api(make: Make) -> None:
    async with make() as server:
        with pytest.raises(ValidationFailed) as caught:
            await server.replace_members("s1", ["a b"])
        assert caught.value.code == "validation_failed"
        assert NotFound.code == "not_found"


# What programs do wrong


@pytest.mark.parametrize("recipients", [users(), Recipients(), Recipients(user_ids=(), role="")])
async def test_a_notification_to_no_recipients_is_not_one_to_all(
    make: Make, recipients: Recipients
) -> None:
    async with make() as server:
        await server.replace_contacts("u1", email="u1@example.com")
        with pytest.raises(ValidationFailed, match="exactly one of user_ids"):
            await server.notifications.send_notification(recipients, title="t", message="m")


async def test_notifications_name_arguments_that_are_wrong(make: Make) -> None:
    async with make() as server:
        send = server.notifications.send_notification
        with pytest.raises(TypeError, match="not str"):
            await send("u1", title="t", message="m")  # type: ignore[arg-type]
        with pytest.raises(ValidationFailed, match="title: must be a string, not 5"):
            await send(users("u1"), title=5, message="m")  # type: ignore[arg-type]
        sending = Sending(channels="email")  # type: ignore[arg-type]
        with pytest.raises(ValidationFailed, match="channels: 'e' is not one of websocket, push"):
            await send(users("u1"), title="t", message="m", sending=sending)


async def test_one_string_is_not_a_list_of_users(make: Make) -> None:
    async with make() as server:
        await server.replace_members("s1", ["alice"])
        with pytest.raises(ValidationFailed, match="user_ids: Expected array, got str"):
            await server.replace_members("s1", "bob")
        assert await server.members("s1") == ["alice"]
        with pytest.raises(ValidationFailed, match="exclude_users: Expected array, got str"):
            await server.broadcast("news", data=1, exclude_users="bob")
        assert (await server.broadcast("news", data=1, exclude_users={"bob"})).matched == 0


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("value", [object(), "\ud800", {(1, 2): 3}])
async def test_data_that_json_does_not_have_are_a_fault_of_the_field(
    make: Make, value: object, keep: bool
) -> None:
    async with make() as server:
        with pytest.raises(ValidationFailed, match="data: is no JSON"):
            await server.send_to_user("u1", "news", data=value, keep=keep)


async def test_other_wrong_arguments_are_named(make: Make) -> None:
    with pytest.raises(TypeError, match="not Server\\(dict\\)"):
        Server({"port": 0})  # type: ignore[arg-type]
    async with make() as server:
        for key in (17, "", "a" * 256, "a\n"):
            with pytest.raises(ValidationFailed, match="idempotency_key: 1 to 255 printable"):
                await server.send_to_user(
                    "u1",
                    "news",
                    data=1,
                    keep=True,
                    idempotency_key=key,  # type: ignore[arg-type]
                )
        with pytest.raises(ValidationFailed, match="target: unknown field"):
            await server.send_to_user("u1", "news", data=1, target=2)  # type: ignore[call-arg]
        for limit in (0, -1, 1001):
            with pytest.raises(ValueError, match="limit: 1 to 1000"):
                await server.history("user:u1", limit=limit)
        with pytest.raises(ValueError, match="ttl_s"):
            server.ticket("u1", ttl_s=float("nan"))
        with pytest.raises(ValueError, match="begins with /"):
            server.websocket_url("ws/chat")
        with pytest.raises(TypeError, match="name of an event"):
            server.on(None, print)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="no such handler of 'x' was added"):
            server.off("x", print)


async def test_a_call_from_another_event_loop_raises(make: Make) -> None:
    async with make() as server:
        with pytest.raises(RuntimeError, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(lambda: asyncio.run(server.send_to_user("u1", "news", data=1)))


async def test_a_session_is_a_conversation_that_is_given_to_somebody(make: Make) -> None:
    async with make() as server:
        with pytest.raises(NotFound):
            await server.session("s1")
        changed = await server.change_session("s1", title="Acme", metadata={"crm": "A-17"})
        assert (changed["title"], changed["metadata"]) == ("Acme", {"crm": "A-17"})
        bot = {"type": "ai", "id": "bot"}
        held = await server.give_session("s1", bot)
        assert (held["holder"], held["term"]) == (bot, 1)
        with pytest.raises(WsServerError) as caught:
            await server.give_session("s1", {"type": "user", "id": "bob"}, expected_term=7)
        assert caught.value.code == "term_changed"
        free = await server.give_session("s1", None, expected_term=1)
        assert (free["holder"], free["term"]) == (None, 2)
        assert (await server.session("s1"))["holder"] is None
        with pytest.raises(ValidationFailed):
            await server.change_session("s1", state="half-open")
