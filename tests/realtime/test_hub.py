from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.fake_connections import fake_connection
from wsserver.identity.claims import Claims
from wsserver.realtime.connections import hub as hub_module
from wsserver.realtime.connections.hub import Hub

USERS = st.sampled_from(["u1", "u2", "u3"])
SESSIONS = ["s1", "s2", "s3"]
ORGANIZATIONS = [None, "o1", "o2"]


class HubAgainstAModel(RuleBasedStateMachine):
    """The hub's indexes against one plain list of connections."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.live: list[Any] = []
        self.joined: set[tuple[str, str]] = set()

    def of_user(self, user: str) -> list[Any]:
        return [c for c in self.live if c.user_id == user]

    def user_in(self, user: str, session_id: str) -> bool:
        return any((c.connection_id, session_id) in self.joined for c in self.of_user(user))

    @rule(
        user=USERS,
        organization_id=st.sampled_from(ORGANIZATIONS),
        role=st.sampled_from(["user", "admin"]),
    )
    def add(self, user: str, organization_id: str | None, role: str) -> None:
        connection = fake_connection(user, organization_id=organization_id, role=role)
        is_first = not self.of_user(user)
        self.live.append(connection)
        assert self.hub.add(connection) is is_first

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(self.live))
        for session_id in list(connection.sessions or ()):
            self.hub.leave(connection, session_id)
        self.joined = {pair for pair in self.joined if pair[0] != connection.connection_id}
        self.live.remove(connection)
        assert self.hub.remove(connection) is (not self.of_user(connection.user_id))
        assert self.hub.remove(connection) is False

    @precondition(lambda self: self.live)
    @rule(data=st.data(), session_id=st.sampled_from(SESSIONS))
    def join(self, data: st.DataObject, session_id: str) -> None:
        connection = data.draw(st.sampled_from(self.live))
        is_first = not self.user_in(connection.user_id, session_id)
        assert self.hub.join(connection, session_id) is is_first
        self.joined.add((connection.connection_id, session_id))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), session_id=st.sampled_from(SESSIONS))
    def leave(self, data: st.DataObject, session_id: str) -> None:
        connection = data.draw(st.sampled_from(self.live))
        was_in = (connection.connection_id, session_id) in self.joined
        self.joined.discard((connection.connection_id, session_id))
        is_last = was_in and not self.user_in(connection.user_id, session_id)
        assert self.hub.leave(connection, session_id) is is_last

    @precondition(lambda self: self.live)
    @rule(data=st.data(), organization_id=st.sampled_from(ORGANIZATIONS))
    def reclaim(self, data: st.DataObject, organization_id: str | None) -> None:
        connection = data.draw(st.sampled_from(self.live))
        claims = Claims(sub=connection.user_id, exp=3e9, organization_id=organization_id)
        self.hub.reclaim(connection, claims)
        assert connection.claims is claims

    @invariant()
    def everyone_is_all_that_are_live(self) -> None:
        everyone = self.hub.everyone
        assert list(everyone) == [each.websocket for each in self.live]
        assert self.hub.everyone is everyone

    @invariant()
    def the_indexes_say_what_the_list_says(self) -> None:
        hub = self.hub
        assert len(hub) == len(self.live)
        assert list(hub) == self.live
        for user in ("u1", "u2", "u3"):
            assert hub.of_user(user) == self.of_user(user)
        for organization_id in ("o1", "o2"):
            assert set(hub.of_organization(organization_id)) == {
                c for c in self.live if c.claims.organization_id == organization_id
            }
        for role in ("user", "admin"):
            assert hub.of_role(role) == [c for c in self.live if c.claims.role == role]
        for session_id in SESSIONS:
            here = [c for c in self.live if (c.connection_id, session_id) in self.joined]
            assert set(hub.of_session(session_id)) == set(here)
            counts = Counter(c.user_id for c in here)
            present = {each["user_id"]: each["connections"] for each in hub.presence(session_id)}
            assert present == counts

    @invariant()
    def nothing_empty_is_kept(self) -> None:
        for index in (
            self.hub.user_connections,
            self.hub.session_connections,
            self.hub.organization_connections,
        ):
            assert all(index.values())
            assert index.pairs == sum(map(len, index.values()))


TestHubAgainstAModel = HubAgainstAModel.TestCase
TestHubAgainstAModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_presence_names_users_as_their_tokens_do() -> None:
    hub = Hub()
    connection = fake_connection("u1", username="张三")
    hub.add(connection)
    hub.join(connection, "s1")
    assert hub.presence("s1") == [{"user_id": "u1", "username": "张三", "connections": 1}]
    assert hub.presence("s2") == []


def test_a_crowded_session_lists_the_first_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "USERS_LISTED", 3)
    hub = Hub()
    for number in range(8):
        connection = fake_connection(f"u{number % 4}")
        hub.add(connection)
        hub.join(connection, "s1")
    listed = hub.presence("s1")
    assert len(listed) == 3
    assert [each["connections"] for each in listed] == [2, 2, 2]


def test_sessions_used_lately_are_remembered_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "KNOWN_SESSIONS_LIMIT", 3)
    hub = Hub()
    connection = fake_connection()
    hub.add(connection)
    for session_id in ("a", "b", "c", "a", "d"):
        hub.join(connection, session_id)
        hub.leave(connection, session_id)
    assert list(hub.known_sessions) == ["c", "a", "d"]
    assert hub.session_connections == {}
