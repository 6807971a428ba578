"""Targets of messages."""

from __future__ import annotations

from wsserver.protocol.targets import EVERYONE, Target, TargetType, connection, session, user


def test_a_target_reads_as_its_stream_does() -> None:
    assert str(EVERYONE) == "broadcast"
    assert str(user("u1")) == "user:u1"
    assert str(session("s1")) == "session:s1"
    assert str(connection("conn_1")) == "connection:conn_1"
    assert str(Target(TargetType.ROLE, "admin")) == "role:admin"


def test_the_kinds_are_the_contracts() -> None:
    assert set(TargetType) == {
        *("broadcast", "user", "session", "organization", "role", "connection")
    }
