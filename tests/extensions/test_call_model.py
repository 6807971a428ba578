"""The states of a call: every action in every state."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any, get_args

import pytest

from wsserver.errors import Forbidden
from wsserver.extensions.calls import model
from wsserver.extensions.calls.errors import BadCallState
from wsserver.extensions.calls.model import (
    TRANSITIONS,
    Action,
    Call,
    Limits,
    Party,
    State,
)
from wsserver.extensions.calls.turn import IceServers

NOW = 1_700_000_000.0
LIMITS = Limits(ring_s=45, resume_s=15, unseen_s=90)
ALICE = Party("alice", None, "conn_a", NOW)
BOB = Party("bob", None, "conn_b", NOW)


def call(state: State = "ringing", **values: Any) -> Call:
    answered = {"callee": BOB, "answered_at": NOW} if state == "answered" else {}
    chosen: dict[str, Any] = {
        "call_id": "call_1",
        "session_id": "s1",
        "media": ("audio",),
        "state": state,
        "caller": ALICE,
        "rung": ("bob", "carol"),
        "created_at": NOW,
        "rings_until": NOW + 45,
        "ended_at": None if state in model.OPEN else NOW,
        **answered,
        **values,
    }
    return Call(**chosen)


def act(action: Action, before: Call) -> Call:
    """The call after an action that its author may take."""
    late = NOW + 1
    match action:
        case "answer":
            return model.answered(before, Party("carol", None, "conn_c", late), late)
        case "decline":
            after = model.declined(before, "bob", None, late)
            return model.declined(after, "carol", "busy", late)
        case "cancel":
            return model.cancelled(before, "alice", None, late)
        case "end":
            return model.ended(before, "alice", "bye", late)
        case "expire":
            return model.passed(before, LIMITS, NOW + 45)
        case "lose":
            return model.passed(model.lost(before, "conn_a", late), LIMITS, late + 15)


@pytest.mark.parametrize("action", get_args(Action))
@pytest.mark.parametrize("state", get_args(State))
def test_every_action_in_every_state_is_as_the_table_says(state: State, action: Action) -> None:
    before = call(state)
    wanted = TRANSITIONS.get((state, action))
    if wanted is None and (before.is_open or action == "answer"):
        if action == "expire":
            assert act(action, before) == before
            return
        with pytest.raises(BadCallState) as refused:
            act(action, before)
        assert refused.value.details == {"state": state}
    elif wanted is None:
        assert act(action, before) == before  # repeated, or too late: nothing happens
    else:
        after = act(action, before)
        assert after.state == wanted
        assert (after.ended_at is None) == after.is_open


def test_only_who_is_concerned_may_act() -> None:
    mallory = Party("mallory", None, "conn_m", NOW)
    actions: list[Callable[[], Call]] = [
        lambda: model.answered(call(), mallory, NOW),
        lambda: model.answered(call(), ALICE, NOW),
        lambda: model.declined(call(), "alice", None, NOW),
        lambda: model.cancelled(call(), "bob", None, NOW),
        lambda: model.ended(call(), "bob", None, NOW),
        lambda: model.ended(call("answered"), "carol", None, NOW),
        lambda: model.resumed(call("answered"), "carol", "conn_x", NOW),
        lambda: model.resumed(call(), "bob", "conn_x", NOW),
    ]
    for action in actions:
        with pytest.raises(Forbidden):
            action()


def test_a_party_comes_back_in_time_or_the_call_ends() -> None:
    going = call("answered")
    away = model.lost(going, "conn_b", NOW + 1)
    assert away.callee is not None
    assert away.callee.lost_at == NOW + 1
    assert model.lost(away, "conn_b", NOW + 9) == away
    assert model.lost(going, "conn_x", NOW) == going
    assert away.due_at(LIMITS) == NOW + 16
    assert model.passed(away, LIMITS, NOW + 15.9) == away
    back = model.resumed(away, "bob", "conn_c", NOW + 15, only_if_lost=True)
    assert back.party("conn_c") == Party("bob", None, "conn_c", NOW + 15)
    assert model.resumed(back, "bob", "conn_d", NOW + 15, only_if_lost=True) == back
    assert model.passed(away, LIMITS, NOW + 16).reason == "connection_lost"
    with pytest.raises(BadCallState):
        model.resumed(model.ended(back, "bob", None, NOW + 20), "bob", "conn_d", NOW + 21)


def test_a_connection_that_its_node_does_not_confirm_is_lost() -> None:
    going = call("answered")
    assert going.due_at(LIMITS) == NOW + 90
    seen = model.seen(going, frozenset({"conn_a", "conn_b", "conn_x"}), NOW + 60)
    assert seen.due_at(LIMITS) == NOW + 150
    half = model.seen(going, frozenset({"conn_a"}), NOW + 60)
    late = model.passed(half, LIMITS, NOW + 90)
    assert late.callee is not None
    assert (late.callee.lost_at, late.caller.lost_at) == (NOW + 90, None)
    assert late.is_open


def test_a_missed_call_is_due_until_it_is_told() -> None:
    missed = model.passed(call(), LIMITS, NOW + 45)
    assert (missed.state, missed.due_at(LIMITS)) == ("missed", NOW + 45)
    assert model.notified(missed).due_at(LIMITS) is None
    assert call("ended").due_at(LIMITS) is None


def test_credentials_are_those_of_coturn_s_rest_scheme() -> None:
    servers = IceServers(["turns:t.example.com"], "north", 60).view("bob", 1_700_000_000.9)
    assert servers["expires_at"] == "2023-11-14T22:14:20.000Z"
    (turn,) = servers["ice_servers"]
    assert turn["username"] == "1700000060:bob"
    digest = hmac.new(b"north", b"1700000060:bob", hashlib.sha1).digest()
    assert turn["credential"] == base64.b64encode(digest).decode()
    assert IceServers([], None, 60).view("bob", 0.0)["ice_servers"] == []
