"""Directory of known users: stored once an hour, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.fake_clock import FakeClock
from wsserver.errors import StorageFull
from wsserver.identity.claims import Claims
from wsserver.notifications.user_directory import AGAIN_S, NOTED, STORED_AT_ONCE, UserDirectory
from wsserver.realtime.connections.hub import Hub
from wsserver.storage.notifications.known_users import KnownUser


class Store:
    """Writes down what it is given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.fails_at: int | None = None

    async def note(self, users: Sequence[KnownUser]) -> None:
        if len(self.batches) == self.fails_at:
            raise StorageFull("full")
        self.batches.append([user.user_id for user in users])


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def directory(store: Store, clock: FakeClock) -> UserDirectory:
    return UserDirectory(store, Hub(), clock, {}.get)  # type: ignore[arg-type]


def claims(sub: str, **fields: str) -> Claims:
    return Claims(sub=sub, exp=1e12, **{"role": "user", **fields})  # type: ignore[arg-type]


@pytest.mark.gen_test
async def test_a_user_is_stored_once_an_hour_or_when_something_has_changed(
    directory: UserDirectory, store: Store, clock: FakeClock
) -> None:
    for moment in (claims("u1"), claims("u1"), claims("u1", role="manager"), None, claims("u1")):
        if moment is None:
            clock.advance(AGAIN_S)
        else:
            directory.note(moment)
        await directory.flush()
    assert store.batches == [["u1"]] * 3


@pytest.mark.gen_test
async def test_what_another_process_may_have_changed_is_stored_again(
    store: Store, clock: FakeClock
) -> None:
    shared = UserDirectory(store, Hub(), clock, {}.get, is_alone=False)  # type: ignore[arg-type]
    for _ in range(2):
        shared.note(claims("u1"))
        await shared.flush()
    assert store.batches == [["u1"]] * 2


@pytest.mark.gen_test
async def test_no_user_is_left_out_of_a_long_list(directory: UserDirectory, store: Store) -> None:
    everybody = [f"u{number}" for number in range(2 * NOTED)]
    for user_id in everybody:
        directory.note(claims(user_id))
    await directory.flush()
    assert [user_id for batch in store.batches for user_id in batch] == everybody
    assert max(map(len, store.batches)) == STORED_AT_ONCE


@pytest.mark.gen_test
async def test_what_could_not_be_stored_waits_for_the_next_time(
    directory: UserDirectory, store: Store
) -> None:
    for number in range(STORED_AT_ONCE + 1):
        directory.note(claims(f"u{number}"))
    store.fails_at = 1
    with pytest.raises(StorageFull):
        await directory.flush()
    store.fails_at = None
    await directory.flush()
    stored = {user_id for batch in store.batches for user_id in batch}
    assert stored == {f"u{n}" for n in range(STORED_AT_ONCE + 1)}


@pytest.mark.gen_test
async def test_a_user_between_two_organizations_is_noted_each_time(
    directory: UserDirectory, store: Store
) -> None:
    for organization_id in ("o1", "o2", "o1"):
        directory.note(claims("u1", organization_id=organization_id))
        assert await directory.organizations(["u1"]) == {"u1": organization_id}
        await directory.flush()
    directory.note(claims("u1", organization_id="o1"))
    await directory.flush()
    assert store.batches == [["u1"]] * 3


@pytest.mark.gen_test
async def test_what_found_no_room_is_noted_the_next_time(
    directory: UserDirectory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsserver.notifications.user_directory.WAITING_LIMIT", 1)
    for user in ("u1", "u2"):
        directory.note(claims(user))
    await directory.flush()
    directory.note(claims("u2"))
    await directory.flush()
    assert store.batches == [["u1"], ["u2"]]


@pytest.mark.gen_test
async def test_the_tokens_own_organization_is_noted_where_another_was_entered(
    directory: UserDirectory,
) -> None:
    directory.note(claims("u1", organization_id="o1").belonging_to("o2"))
    assert await directory.organizations(["u1"]) == {"u1": "o1"}
