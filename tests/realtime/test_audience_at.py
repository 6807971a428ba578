from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.fake_clock import FakeClock
from tests.support.fake_connections import fake_connection
from wsserver.cluster.broker import Publication
from wsserver.identity.claims import Claims
from wsserver.protocol.targets import EVERYONE, Target, TargetType, connection, session, user
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.realtime.connections.hub import SELECT, Hub
from wsserver.realtime.delivery.trace_buffer import TraceBuffer
from wsserver.realtime.tracing.audience_at import PastAudience

ORGANIZATIONS = st.sampled_from([None, "o1", "o2"])
ROLES = st.sampled_from(["user", "manager"])
USERS = st.sampled_from(["u1", "u2", "u3"])
SESSIONS = st.sampled_from(["s1", "s2"])
TARGETS = st.one_of(
    st.just(EVERYONE),
    USERS.map(user),
    SESSIONS.map(session),
    st.sampled_from(["o1", "o2"]).map(lambda id_: Target(TargetType.ORGANIZATION, id_)),
    ROLES.map(lambda id_: Target(TargetType.ROLE, id_)),
)


class PastAudienceModel(RuleBasedStateMachine):
    """The past audience as computed later, compared with the one at the time of delivery."""

    def __init__(self) -> None:
        super().__init__()
        clock = FakeClock()
        connection_log = ConnectionLog(clock)
        self.hub = Hub(connection_log)
        self.traces = TraceBuffer(connection_log, clock)
        self.live: list[Any] = []
        self.notes: dict[str, tuple[Target, set[str], set[str]]] = {}

    @rule(user_id=USERS, organization_id=ORGANIZATIONS, role=ROLES)
    def come(self, user_id: str, organization_id: str | None, role: str) -> None:
        newcomer = fake_connection(user_id, organization_id=organization_id, role=role)
        self.hub.add(newcomer)
        self.live.append(newcomer)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        goer = data.draw(st.sampled_from(self.live))
        for session_id in list(goer.sessions or ()):
            self.hub.leave(goer, session_id)
        self.hub.remove(goer, 1000, "gone")
        self.live.remove(goer)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), session_id=SESSIONS)
    def join(self, data: st.DataObject, session_id: str) -> None:
        self.hub.join(data.draw(st.sampled_from(self.live)), session_id)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), session_id=SESSIONS)
    def leave(self, data: st.DataObject, session_id: str) -> None:
        self.hub.leave(data.draw(st.sampled_from(self.live)), session_id)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), organization_id=ORGANIZATIONS, role=ROLES)
    def renew(self, data: st.DataObject, organization_id: str | None, role: str) -> None:
        renewed = data.draw(st.sampled_from(self.live))
        claims = Claims(sub=renewed.user_id, exp=3e9, organization_id=organization_id, role=role)
        self.hub.reclaim(renewed, claims)

    @rule(whom=TARGETS)
    def deliver(self, whom: Target) -> None:
        self._deliver(whom)

    def _deliver(self, target: Target) -> None:
        message_id = f"msg_{len(self.notes)}"
        there = {c.connection_id for c in SELECT[target.type](self.hub, target.id)}
        online = {c.user_id for c in self.live}
        self.notes[message_id] = target, there, online
        self.traces.delivered(Publication(message_id, "x", target, b"{}"))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def deliver_to_one(self, data: st.DataObject) -> None:
        self._deliver(connection(data.draw(st.sampled_from(self.live)).connection_id))

    @invariant()
    def each_message_finds_those_again_who_were_there(self) -> None:
        for message_id, (target, there, online) in self.notes.items():
            entry = self.traces.find(message_id)
            assert entry is not None
            past = PastAudience(self.hub, entry.tick)
            found = [stay.connection_id for stay in past.of(target)]
            assert len(found) == len(set(found))
            assert set(found) == there
            assert {user_id for user_id in ("u1", "u2", "u3") if past.had(user_id)} == online


TestPastAudienceModel = PastAudienceModel.TestCase
TestPastAudienceModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_delivery_of_unknown_tick_has_no_audience() -> None:
    hub = Hub()
    hub.add(fake_connection("u1"))
    past = PastAudience(hub, 0)
    assert list(past.of(EVERYONE)) == []
    assert not past.had("u1")
    assert past.is_complete
