"""Tickets are redeemed once, on whichever node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_nodes import eventually
from tests.support.fake_clock import FakeClock
from wsserver.cluster.redis.link import RedisLink
from wsserver.cluster.redis.tickets import RedisTickets
from wsserver.errors import TokenInvalid, TokenRevoked
from wsserver.identity.claims import Claims
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import NoExchange, Tickets


@pytest.fixture
def url(server: ValkeyProcess | None) -> str | None:
    return None if server is None else server.url


@asynccontextmanager
async def node(url: str | None, clock: FakeClock) -> AsyncIterator[Tickets]:
    if url is None:
        yield Tickets(clock, revocations=Revocations(clock), exchange=NoExchange())
        return
    link = RedisLink(url)
    yield Tickets(clock, revocations=Revocations(clock), exchange=RedisTickets(link))
    await link.close()


def claims(clock: FakeClock) -> Claims:
    return Claims(
        "u1",
        clock.wall() + 600,
        sessions=frozenset({"s1"}),
        permissions=frozenset({"x"}),
        jti="t1",
        iat=clock.wall(),
        organization_id="o1",
        signed_organization_id=None,
    )


async def issue(tickets: Tickets, clock: FakeClock, ttl_s: float | None = None) -> str:
    ticket, _ = tickets.issue(claims(clock), ttl_s)
    await tickets.share(ticket)
    return ticket


@pytest.mark.gen_test
async def test_the_issuing_node_redeems_its_own_once(url: str | None, clock: FakeClock) -> None:
    async with node(url, clock) as one:
        ticket = await issue(one, clock)
        assert one.is_local(ticket) is (url is None)
        for _ in range(2):
            assert await one.find(ticket) == claims(clock)
        assert await one.use(ticket) == claims(clock)
        for attempt in (one.use, one.find):
            with pytest.raises(TokenInvalid):
                await attempt(ticket)


@pytest.mark.parametrize("ticket", ["x", "é", "x" * 1000, ""])
@pytest.mark.gen_test
async def test_what_is_no_ticket(url: str | None, clock: FakeClock, ticket: str) -> None:
    async with node(url, clock) as one:
        assert not one.is_local(ticket)
        for attempt in (one.find, one.use):
            with pytest.raises(TokenInvalid):
                await attempt(ticket)


@pytest.mark.gen_test
async def test_another_node_redeems_it_instead(
    shared_valkey: ValkeyProcess, clock: FakeClock
) -> None:
    async with node(shared_valkey.url, clock) as one, node(shared_valkey.url, clock) as two:
        ticket = await issue(one, clock)
        assert await two.find(ticket) == claims(clock)
        assert await two.use(ticket) == claims(clock)
        for each in (one, two):
            with pytest.raises(TokenInvalid):
                await each.use(ticket)
        ticket = await issue(one, clock)
        await one.use(ticket)
        with pytest.raises(TokenInvalid):
            await two.use(ticket)
        ticket = await issue(one, clock)
        assert two.revocations is not None
        two.revocations.revoke_jti("t1")
        with pytest.raises(TokenRevoked):
            await two.use(ticket)


@pytest.mark.gen_test
async def test_it_ends_on_all_nodes(shared_valkey: ValkeyProcess, clock: FakeClock) -> None:
    async with node(shared_valkey.url, clock) as one, node(shared_valkey.url, clock) as two:
        ticket = await issue(one, clock, ttl_s=0.001)
        clock.advance(1)

        async def has_ended() -> bool:
            """At Redis, by its own clock."""
            try:
                await two.find(ticket)
            except TokenInvalid:
                return True
            return False

        await eventually(has_ended)
        for each in (one, two):
            with pytest.raises(TokenInvalid):
                await each.use(ticket)
        ticket = await issue(one, clock)
        clock.advance(700)  # the token has ended
        with pytest.raises(TokenInvalid):
            await two.use(ticket)


@pytest.mark.gen_test
async def test_while_redis_is_away_a_node_redeems_its_own(
    valkey: ValkeyProcess, clock: FakeClock
) -> None:
    async with node(valkey.url, clock) as one, node(valkey.url, clock) as two:
        shared = await issue(one, clock)
        valkey.kill()
        own = await issue(one, clock)
        for ticket in (shared, own):
            with pytest.raises(TokenInvalid):
                await two.use(ticket)
            assert await one.use(ticket) == claims(clock)
            with pytest.raises(TokenInvalid):
                await one.use(ticket)
