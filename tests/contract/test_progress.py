"""Signals with progress: each recipient sees it grow, however the nodes' signals are mixed."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from wsserver.cluster.broker import InboxSettled, MonitorPush, Push
from wsserver.cluster.progress import Progress
from wsserver.protocol.targets import user

SENT = st.lists(
    st.tuples(
        st.sampled_from(["boss", "u1", None]),
        st.sampled_from(["m1", "m2"]),
        st.sampled_from(["u1", "u2"]),
        st.integers(0, 4),
    ),
    max_size=40,
)


def signal(receiver: str | None, message_id: str, recipient: str, progress: int) -> object:
    if receiver is None:
        return MonitorPush(b"{}", message_id=message_id, recipient=recipient, progress=progress)
    targets = (user(receiver),)
    return Push(targets, b"{}", message_id=message_id, recipient=recipient, progress=progress)


@given(SENT)
def test_progress_only_grows_and_the_highest_comes(
    sent: list[tuple[str | None, str, str, int]],
) -> None:
    progress = Progress()
    written: dict[tuple[str | None, str, str], list[int]] = defaultdict(list)
    highest: dict[tuple[str | None, str, str], int] = {}
    for receiver, message_id, recipient, number in sent:
        key = receiver, message_id, recipient
        highest[key] = max(highest.get(key, -1), number)
        if progress.admits(signal(receiver, message_id, recipient, number)):  # type: ignore[arg-type]
            written[key].append(number)
    for numbers in written.values():
        assert numbers == sorted(set(numbers))
    assert {key: numbers[-1] for key, numbers in written.items()} == highest


def test_other_signals_pass() -> None:
    progress = Progress()
    for _ in range(2):
        assert progress.admits(Push((user("u1"),), b"{}"))
        assert progress.admits(MonitorPush(b"{}"))
        assert progress.admits(InboxSettled("u1", ["m1"]))
    assert len(progress) == 0


def test_it_remembers_a_bounded_number() -> None:
    progress = Progress(limit=2)
    signals = [
        Push((user("boss"),), b"{}", message_id=f"m{number}", recipient="u1", progress=1)
        for number in range(3)
    ]
    assert all(progress.admits(each) for each in signals)
    assert len(progress) == 2
    assert not progress.admits(signals[2])
    assert progress.admits(signals[0])  # forgotten
