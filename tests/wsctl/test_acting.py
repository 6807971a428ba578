"""Commands that change something: what they ask of the server, of people, and what they show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_server import (
    ADMIN,
    API,
    CONTACT,
    CONTACTS,
    ENTRIES,
    MEMBERS,
    FakeServer,
    Run,
    add_example_data,
    page,
    problem,
)
from tests.support.terminal import on_terminal_of
from wsctl.config.tokens import sign
from wsctl.errors import Failed


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One that knows of a session, a contact and what was done."""
    return add_example_data(server)


def changes(server: FakeServer) -> list[tuple[str, Any]]:
    """What was asked for that changes something."""
    return [
        (asked.path.removeprefix(API), asked.body)
        for asked in server.asked
        if asked.method != "GET" and not asked.path.endswith("/explain")
    ]


# A user


def test_a_user_is_shown_as_far_as_the_token_permits(ctl: Run, server: FakeServer) -> None:
    mine = [{**each, "user_id": "u1", "sessions": ["s1", "s2"]} for each in server.connections]
    server.answers["GET", "/users/u1/connections"] = (200, {"connections": mine})
    note = {"notification_id": "notify_1", "type": "info", "title": "余额", "states": {"read": 1}}
    server.answers["GET", "/notifications"] = (200, page("notifications", [note], {}))
    result = ctl("user", "u1")
    text = result.stdout
    assert text.startswith("u1  张三  role user  organization o1  online with 3 connections\n")
    for words in ("conn_0002", "sessions: s1, s2", "contacts: email a@b.cn, push 1 (push.", "余额"):
        assert words in text
    assert "secret" not in text
    found = json.loads(ctl("user", "u1", "-o", "json").stdout)
    assert (found["user_id"], len(found["connections"])) == ("u1", 3)
    assert found["contacts"]["email"] == "a@b.cn"
    for path in (CONTACTS, "/notifications"):
        server.answers["GET", path] = (403, problem(403, "forbidden", "not yours"))
    result = ctl("user", "u1")
    assert (result.exit_code, result.stderr.count("may not read")) == (0, 2)
    assert "contacts:" not in result.stdout


def test_a_user_who_is_offline_is_shown_too(ctl: Run, server: FakeServer) -> None:
    server.answers["GET", "/users/u1/connections"] = (200, {"connections": []})
    server.answers["GET", "/notifications"] = (200, page("notifications", [], {}))
    assert ctl("user", "u1").stdout.splitlines()[0] == "u1  organization o1  offline"
    server.answers["GET", CONTACTS] = (403, problem(403, "forbidden", "not yours"))
    assert ctl("user", "u1").stdout.splitlines()[0] == "u1  offline"


# Members


def test_members_are_listed_beside_those_who_are_here(ctl: Run) -> None:
    rows = [line.split() for line in ctl("members", "s1").stdout.splitlines()[1:]]
    assert rows == [["u1", "yes", "0"], ["u2", "yes", "0"], ["u7", "张三", "no", "2"]]
    assert json.loads(ctl("members", "s1", "-o", "json").stdout)["user_ids"] == ["u1", "u2"]


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (["--add", "u3,u4", "--add", "u1"], ["u1", "u2", "u3", "u4"]),
        (["--remove", "u1"], ["u2"]),
        (["--add", "u3", "--remove", "u1"], ["u2", "u3"]),
        (["--set", "u5", "--set", "u6,u5"], ["u5", "u6"]),
        (["--clear"], []),
    ],
)
def test_members_are_changed(
    ctl: Run, server: FakeServer, args: list[str], wanted: list[str]
) -> None:
    before = ctl("members", "s1", *args, "--dry-run", "-o", "json")
    assert json.loads(before.stdout)["user_ids"] == wanted
    assert changes(server) == []
    result = ctl("members", "s1", *args)
    assert (result.exit_code, result.stdout.startswith("s1 has 1 member: ")) == (0, True)
    assert changes(server) == [(MEMBERS, {"user_ids": wanted})]


@pytest.mark.parametrize(
    "args",
    [["--set", "u1", "--clear"], ["--set", "u1", "--add", "u2"], ["--set", ""],
     ["--add", "u1", "--remove", "u1"]],
)  # fmt: skip
def test_members_that_cannot_be_meant_are_2(ctl: Run, server: FakeServer, args: list[str]) -> None:
    assert ctl("members", "s1", *args).exit_code == 2
    assert changes(server) == []


def test_a_session_that_was_never_used_has_no_members(ctl: Run, server: FakeServer) -> None:
    server.answers["GET", MEMBERS] = (200, {"session_id": "s1", "user_ids": []})
    del server.answers["GET", "/sessions/s1"]
    result = ctl("members", "s1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "has no members" in result.stderr


# Contacts


def test_contacts_change_what_is_named_and_keep_the_rest(ctl: Run, server: FakeServer) -> None:
    shown = ctl("contacts", "u1").stdout
    assert "22:00 to 08:00, UTC" in shown
    assert "1 (push.example.com)" in shown
    assert "2 (apns, fcm)" in shown
    assert "secret" not in shown
    ctl("contacts", "u1", "--phone", "+8613800138000", "--email", "none",
        "--quiet-hours", "23:00-07:00@Asia/Shanghai")  # fmt: skip
    ctl("contacts", "u1", "--forget-push", "--quiet-hours", "none")
    (_, first), (_, second) = changes(server)
    assert first == {
        "phone": "+8613800138000", "email": None, "locale": None, "push": CONTACT["push"],
        "devices": CONTACT["devices"],
        "quiet_hours": {"start": "23:00", "end": "07:00", "time_zone": "Asia/Shanghai"},
    }  # fmt: skip
    assert (second["push"], second["devices"]) == ([], [])
    assert (second["quiet_hours"], second["email"]) == (None, "a@b.cn")
    ctl("contacts", "u1", "--organization", "o2")
    ctl("contacts", "u1", "--organization", "none")
    entered = [body["organization_id"] for _, body in changes(server)[2:]]
    assert entered == ["o2", None]  # else it is left out, and stays as it is
    assert ctl("contacts", "u1", "--quiet-hours", "ten").exit_code == 2
    assert json.loads(ctl("contacts", "u1", "-o", "json").stdout) == CONTACT


# The audit trail


def test_the_audit_trail_is_read_from_top_to_bottom(ctl: Run, server: FakeServer) -> None:
    lines = ctl("audit", "--actor", "ops", "--action", "disconnect", "--since",
                "2024-01-15T00:00:00Z", "--limit", "20").stdout.splitlines()  # fmt: skip
    assert server.asked[0].query == {
        "actor": "ops", "action": "disconnect", "since": "2024-01-15T00:00:00.000Z", "limit": "20",
    }  # fmt: skip
    assert len(lines) == 3
    assert "运维  disconnect user:u1  REFUSED: forbidden" in lines[0]
    assert "connections=conn_1 conn_2 from 10.0.0.1" in lines[1]
    assert "REFUSED" not in lines[1]
    found = json.loads(ctl("audit", "-o", "json").stdout)
    assert [entry["id"] for entry in found] == [0, 1, 2]
    assert ctl("audit", "-o", "csv").stdout.startswith("id,at,actor,role,action,target,outcome")
    assert ctl("audit", "--follow", "--until", "1h").exit_code == 2


def test_following_it_misses_nothing_and_repeats_nothing(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    import click

    from wsctl.cli.environment import Environment
    from wsctl.commands.audit import _following

    environment = Environment(url=server.url, token=ADMIN)
    steps: list[Any] = [
        (200, page("entries", ENTRIES[:2][::-1], {})),
        (503, problem(503, "draining", "restarting")),
        (200, page("entries", ENTRIES[::-1], {})),
        (403, problem(403, "forbidden", "no more")),
    ]

    def wait(_: float) -> None:
        server.answers["GET", "/audit"] = steps.pop(0)

    with click.Context(click.Command("audit")):
        # Where nothing was done yet, whatever comes is new: no clock but the server's counts.
        assert next(_following(environment, {"actor": "ops"}, [], 0.0))["id"] == 1
        assert "since" not in server.asked.pop().query
        following = _following(environment, {}, ENTRIES[:1], 2.0, wait)
        assert [next(following)["id"], next(following)["id"]] == [1, 2]
        with pytest.raises(Failed, match="no more"):
            next(following)
        environment.client.close()
    away, back = capsys.readouterr().err.splitlines()
    assert "restarting" in away
    assert "answers again" in back
    assert [asked.query["since"][17:19] for asked in server.asked] == ["00", "01", "01", "02"]


# Revoking


def test_a_token_is_revoked_however_it_is_given(ctl: Run, server: FakeServer, home: Path) -> None:
    token = sign(b"s" * 32, {"sub": "u1"}, 60)
    (home / "token").write_text(f"Bearer {token}\n")
    jti = json.loads(ctl("token", "inspect", token, "-o", "json").stdout)["claims"]["jti"]
    for args, stdin in ((["token"], None), (["-"], token), (["--file", "token"], None)):
        given = [token] if args == ["token"] else args
        result = ctl("token", "revoke", *given, stdin=stdin)
        assert result.stdout == f"revoked the token {jti}; 2 connections closed\n"
        assert token not in result.output
    result = ctl("token", "revoke", "--user", "u1", "-o", "json")
    assert json.loads(result.stdout) == {"disconnected": 2}
    assert changes(server) == [*[("/tokens/revoke", {"jti": jti})] * 3,
                               ("/tokens/revoke", {"user_id": "u1"})]  # fmt: skip


def test_a_ticket_is_printed_alone(ctl: Run, server: FakeServer) -> None:
    server.answers["POST", "/tickets"] = (200, {"ticket": "T", "expires_at": "2024-01-15"})
    assert ctl("token", "ticket").stdout == "T\n"
    assert json.loads(ctl("token", "ticket", "-o", "json").stdout)["ticket"] == "T"


def test_an_invalid_token_or_one_without_id_is_reported_without_showing_it(
    ctl: Run, server: FakeServer
) -> None:
    import jwt

    nameless = jwt.encode({"sub": "u1"}, b"s" * 32)
    for text, words in ((nameless, "--user u1"), ("canary.of.token", "not a token")):
        result = ctl("token", "revoke", text)
        assert (result.exit_code, words in result.stderr) == (1, True)
        assert text not in result.output
    assert ctl("token", "revoke").exit_code == 2
    assert ctl("token", "revoke", "--user", "u", "--jti", "j").exit_code == 2
    assert ctl("token", "revoke", "--file", "missing").exit_code == 2
    assert changes(server) == []


# Looking before, and being asked


@pytest.mark.parametrize(
    "args",
    [
        ["broadcast", "你好", "--dry-run"],
        ["broadcast", "你好", "--dry-run", "--organization", "o1", "--role", "user"],
        ["send", "--user", "u1", "hi", "--dry-run"],
        ["send", "--session", "s1", "--type", "new_message", "hi", "--dry-run"],
    ],
)
def test_a_dry_run_shows_who_would_get_it(ctl: Run, server: FakeServer, args: list[str]) -> None:
    result = ctl(*args)
    assert (result.exit_code, changes(server)) == (0, [])
    assert "conn_0001" in result.stdout
    assert "u9" in result.stdout
    assert "nothing was sent" in result.stderr
    assert json.loads(ctl(*args, "-o", "json").stdout)["matched"] == 2


def test_a_dry_run_of_disconnect_shows_whom_it_hits(ctl: Run, server: FakeServer) -> None:
    result = ctl("disconnect", "u1", "--dry-run")
    assert (result.exit_code, changes(server)) == (0, [])
    assert "conn_0000" in result.stdout
    assert "3 connections; nothing was closed" in result.stderr
    found = ctl("disconnect", "u1", "--connection", "conn_0002", "--dry-run", "-o", "json")
    assert [row["connection_id"] for row in json.loads(found.stdout)] == ["conn_0002"]
    server.connections = []
    assert "u1 is not connected" in ctl("disconnect", "u1", "--dry-run").stderr


def test_a_connection_is_closed_without_naming_its_user(ctl: Run, server: FakeServer) -> None:
    assert ctl("disconnect", "--connection", "conn_1").exit_code == 0
    assert changes(server) == [("/users/disconnect", {"user_id": "u1", "connection_id": "conn_1"})]
    assert ctl("disconnect").exit_code == 2
    assert ctl("disconnect", "--connection", "conn_gone").exit_code == 1


ASKING = [
    (["broadcast", "hi"], "Send to all users: 2 connections?"),
    (["token", "revoke", "--user", "u1"], "Revoke all tokens of u1?"),
    (["members", "s1", "--remove", "u1"], "Remove u1 from the members of s1?"),
    (["notify", "--broadcast", "--title", "T", "--message", "M"], "Notify all users"),
    (["notifications", "cancel", "notify_1"], "Cancel the pending deliveries of notify_1?"),
    (["disconnect", "u1"], "Close all connections of u1?"),
]


@pytest.mark.parametrize(("args", "question"), ASKING, ids=lambda value: " ".join(value[:2]))
def test_what_cannot_be_undone_is_asked_about_on_a_terminal(
    server: FakeServer, args: list[str], question: str
) -> None:
    server.answers["POST", "/notifications/notify_1/cancel"] = (200, {"cancelled": 1})
    accepted = {"notification_id": "notify_1", "deliveries": []}
    server.answers["POST", "/notify"] = (202, accepted)
    code, shown = on_terminal_of(server, *args, typed=b"n\n")
    assert (code, question in " ".join(shown.split()), changes(server)) == (1, True, []), shown
    code, shown = on_terminal_of(server, *args, typed=b"y\n")
    assert (code, len(changes(server))) == (0, 1), shown
    code, shown = on_terminal_of(server, *args, "--yes")
    assert (code, question in shown, len(changes(server))) == (0, False, 2), shown


def test_erasing_shows_what_there_is_before_it_asks(ctl: Run, server: FakeServer) -> None:
    tables = ("contacts", "tasks", "contacts", "audit")
    lines = b"".join(json.dumps({"table": table}).encode() + b"\n" for table in tables)
    server.answers["GET", "/users/u1/data"] = (200, lines)
    server.answers["DELETE", "/users/u1/data"] = (200, {"erased": {"contacts": 2, "cursors": 0}})
    for typed, code in ((b"n\n", 1), (b"y\n", 0)):
        status, shown = on_terminal_of(server, "erase", "u1", typed=typed)
        words = " ".join(shown.split())
        assert status == code, shown
        assert "audit 1 stays contacts 2 tasks 1 stays, without the id Erase the" in words, shown
        assert [path for path, _ in changes(server)] == ["/users/u1/data"] * (1 - code)
    assert "erased 2 rows of u1 in 1 table" in words


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b'{"table": "contacts"}\nno JSON\n', "no JSON"),
        ({"table": "contacts"}, "is it a wsserver?"),
    ],
)
def test_an_export_that_is_none_is_refused(
    ctl: Run, server: FakeServer, answer: Any, fault: str
) -> None:
    server.answers["GET", "/users/u1/data"] = (200, answer)
    result = ctl("export", "user-data", "u1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert fault in result.stderr


def test_members_who_are_only_added_are_not_asked_about(server: FakeServer) -> None:
    code, shown = on_terminal_of(server, "members", "s1", "--add", "u3")
    assert (code, len(changes(server)), "?" in shown) == (0, 1, False)


def test_a_template_that_was_nearly_meant_is_named(ctl: Run, server: FakeServer) -> None:
    server.answers["POST", "/notify"] = (422, problem(422, "validation_failed",
                                                      "template: unknown template"))  # fmt: skip
    result = ctl("notify", "u1", "--template", "device_stauts")
    assert (result.exit_code, "Did you mean device_status" in result.stderr) == (2, True)


def test_ctrl_c_at_a_question_ends_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import click

    from wsctl.cli import prompts

    def interrupted(*_: object, **__: object) -> bool:
        raise click.Abort

    monkeypatch.setattr(prompts, "is_asked", lambda _: True)
    monkeypatch.setattr(click, "confirm", interrupted)
    with pytest.raises(click.Abort):
        prompts.confirm("Close it?", yes=False, otherwise="nothing was closed")
    assert capsys.readouterr().err == "\n"
