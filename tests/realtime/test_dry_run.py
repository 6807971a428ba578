from __future__ import annotations

from typing import Any

import pytest

from tests.support.live_server import Live
from wsserver.protocol.targets import EVERYONE, session, user
from wsserver.realtime.messages.message import Message
from wsserver.realtime.tracing import dry_run as module
from wsserver.realtime.tracing.dry_run import explain, users_of


async def explained(
    live: Live, message: Message, organization_id: str | None = None
) -> dict[str, Any]:
    scope = live.tenancy.scope(organization_id)
    await scope.learn(users_of(message, live.members))
    return explain(message, live.hub, live.members, scope)


def reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["user_id"], each["reason"]) for each in answer["excluded"]]


@pytest.mark.gen_test
async def test_every_excluded_user_has_a_reason(live: Live) -> None:
    for name, organization_id, role in (
        ("meant", "o1", "user"),
        ("named", "o1", "user"),
        ("manager", "o1", "manager"),
        ("other", "o2", "user"),
        ("free", None, "user"),
    ):
        await live.connect(name, organization_id=organization_id, role=role)
    message = Message(
        "x", {}, organization_id="o1", role="user", exclude_users=frozenset({"named", "away"})
    )
    answer = await explained(live, message)
    assert [each["user_id"] for each in answer["recipients"]] == ["meant"]
    assert reasons(answer) == [
        ("named", "excluded"),
        ("manager", "other_role"),
        ("other", "other_organization"),
        ("free", "other_organization"),
        ("away", "excluded"),
    ]
    assert "connection_id" not in answer["excluded"][-1]
    assert reasons(await explained(live, message, "o1")) == [
        ("named", "excluded"),
        ("manager", "other_role"),
    ]


@pytest.mark.gen_test
async def test_the_members_of_a_session_are_accounted_for(live: Live) -> None:
    await live.members.replace("s1", ["here", "elsewhere", "away", "named"], "boss", 0.0)
    await live.in_session("here")
    await live.connect("elsewhere")
    message = Message("x", {}, session("s1"), exclude_users=frozenset({"named"}))
    answer = await explained(live, message)
    assert answer["matched"] == 1
    assert reasons(answer) == [
        ("named", "excluded"),
        ("away", "offline"),
        ("elsewhere", "not_joined"),
    ]
    message.keep = True
    excluded = (await explained(live, message))["excluded"]
    kept = {each["user_id"]: each.get("will_be_kept") for each in excluded}
    assert kept == {"named": None, "elsewhere": True, "away": True}


@pytest.mark.gen_test
@pytest.mark.parametrize(("keep", "extra"), [(False, {}), (True, {"will_be_kept": True})])
async def test_who_is_offline_gets_what_is_kept_later(
    live: Live, keep: bool, extra: dict[str, Any]
) -> None:
    assert await explained(live, Message("x", {}, user("u1"), keep=keep)) == {
        **({"stream": "user:u1"} if keep else {}),
        "matched": 0,
        "recipients": [],
        "excluded": [{"user_id": "u1", "reason": "offline", **extra}],
    }


@pytest.mark.gen_test
async def test_long_lists_are_cut_and_say_so(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTED", 2)
    for number in range(3):
        await live.connect(f"u{number}")
    answer = await explained(live, Message("x", {}, EVERYONE))
    assert (answer["matched"], len(answer["recipients"]), answer["truncated"]) == (3, 2, True)
    named = Message("x", {}, EVERYONE, exclude_users=frozenset({"u0", "u1", "u2"}))
    answer = await explained(live, named)
    assert (answer["matched"], len(answer["excluded"]), answer["truncated"]) == (0, 2, True)
