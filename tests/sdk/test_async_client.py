"""``AsyncClient`` against a real server: many calls at a time, and providers that are awaited."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.running_server import RunningServer
from wsserver.sdk import (
    AsyncClient,
    Client,
    Message,
    Published,
    TokenSigner,
    ValidationFailed,
    to_user,
)


@pytest.mark.gen_test
async def test_calls_run_at_the_same_time(server: RunningServer, signer: TokenSigner) -> None:
    async with AsyncClient(server.url, signer.service("shop")) as client:
        sent = await asyncio.gather(
            *(client.publish(to_user(f"u{n}"), "bill", keep=True, data=n) for n in range(20))
        )
        assert len({each.message_id for each in sent}) == 20
        results = await client.batch([Message(to_user("u"), "x"), Message(to_user("u"), "X")])
        assert isinstance(results[0], Published)
        assert isinstance(results[1], ValidationFailed)
        assert (await client.notify(user_ids=["u"], title="T", message="M")).deliveries
        assert (await client.request("GET", "/whoami"))["user_id"] == "shop"
        assert (await client.ticket()).ticket
        with pytest.raises(ValidationFailed):
            await client.publish(to_user("u"), "X")


@pytest.mark.gen_test
async def test_a_provider_may_be_awaited(server: RunningServer, signer: TokenSigner) -> None:
    async def provide() -> str:
        await asyncio.sleep(0)
        return signer.sign("shop", role="service")

    async with AsyncClient(server.url, provide) as client:
        await client.publish(to_user("u"), "hint")
    made = provide()
    with (
        Client(server.url, lambda: made) as blocking,
        pytest.raises(TypeError, match="AsyncClient"),
    ):
        blocking.publish(to_user("u"), "hint")
    made.close()
