"""Answers that grow, by both clients against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.running_server import RunningServer
from tests.support.sdk_transport import MovingTransport
from tests.support.websocket_clients import Client as Socket
from tests.support.websocket_clients import open_client
from wsserver.sdk import AsyncClient, Client, NotFound, TokenSigner

WORDS = [f"word{number} " for number in range(50)]
TEXT = "".join(WORDS)


def watcher(server: RunningServer, signer: TokenSigner, session_id: str) -> Socket:
    socket = open_client(server, bearer=signer.sign("ann", sessions=[session_id]))
    socket.call("join_session", session_id=session_id)
    return socket


def test_an_iterator_of_texts(client: Client, server: RunningServer, signer: TokenSigner) -> None:
    socket = watcher(server, signer, "a1")
    with client.answer("a1", sender={"user_id": "bot", "role": "ai"}) as answer:
        assert answer.state == "growing"
        answer.write("First. ")
        answer.write(iter(WORDS))
        answer.note_usage(total_tokens=50)
    assert (answer.state, answer.length) == ("completed", len("First. " + TEXT))
    message = socket.await_push("answer_ended")["message"]
    assert message["content"] == "First. " + TEXT
    assert message["sender"]["user_id"] == "bot"
    told = client.request("GET", f"/answers/{answer.message_id}")
    assert (told["state"], told["usage"]) == ("completed", {"total_tokens": 50})
    socket.close()


def test_what_a_server_has_lost_is_sent_again_before_the_end(client: Client) -> None:
    """As a server that was killed, and has not stored the latest texts."""
    with client.answer("a9") as answer:
        answer.write("First. ")
        answer._progress._texts += ["Second. ", "Third."]
        answer._progress._next = 4
    assert (answer.state, answer.length) == ("completed", len("First. Second. Third."))


def test_texts_may_be_given_at_once_and_replaced(client: Client) -> None:
    with client.answer("a2", texts=WORDS) as answer:
        answer.finish(content="Short.")
    told = client.request("GET", f"/answers/{answer.message_id}")
    assert (told["content"], told["state"], answer.length) == ("Short.", "completed", 6)


def test_a_long_text_is_sent_in_several(client: Client) -> None:
    with client.answer("a3") as answer:
        answer.write("ä" * 100_000)
        answer.write("")
    assert answer.length == 100_000


def test_a_program_that_fails(client: Client) -> None:
    def model() -> Iterator[str]:
        yield "so far"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), client.answer("a4") as answer:
        answer.write(model())
    assert answer.state == "failed"
    told = client.request("GET", f"/answers/{answer.message_id}")
    assert (told["state"], told["reason"], told["content"]) == (
        "failed",
        "ZeroDivisionError",
        "so far",
    )


def test_somebody_stops_it(client: Client, server: RunningServer) -> None:
    read: list[str] = []
    is_closed = threading.Event()

    def model() -> Iterator[str]:
        try:
            for word in WORDS:
                if len(read) == 5:
                    (found,) = server.get("/sessions/a5/history").json()["messages"]
                    server.post(f"/answers/{found['id']}/cancel", {"reason": "thank you"})
                read.append(word)
                yield word
        finally:
            is_closed.set()

    with client.answer("a5") as answer:
        answer.write(model())
        raise AssertionError("not reached")
    assert (answer.state, answer.reason) == ("cancelled", "thank you")
    assert len(read) == 6
    assert is_closed.is_set()


def test_a_session_that_cannot_be(client: Client) -> None:
    with pytest.raises(Exception, match="bad_request"), client.answer("a b"):
        raise AssertionError("not reached")


@pytest.mark.gen_test
async def test_an_asynchronous_iterator(server: RunningServer, signer: TokenSigner) -> None:
    async def model() -> AsyncIterator[str]:
        for word in WORDS:
            yield word
            await asyncio.sleep(0)

    async with AsyncClient(server.url, signer.service("shop")) as client:
        async with client.answer("b1") as answer:
            await answer.write("First. ")
            await answer.write(model())
            await answer.write(WORDS[:2])
            answer.note_usage(total_tokens=50)
        told = await client.request("GET", f"/answers/{answer.message_id}")
        assert told["content"] == "First. " + TEXT + "".join(WORDS[:2])
        assert told["state"] == "completed"
        async with client.answer("b2", texts=model()) as answer:
            await answer.fail("no more")
        assert answer.state == "failed"


@pytest.mark.gen_test
async def test_a_model_that_breaks(server: RunningServer, signer: TokenSigner) -> None:
    async def model() -> AsyncIterator[str]:
        yield "so far"
        raise ConnectionResetError("the model has gone")

    async with AsyncClient(server.url, signer.service("shop")) as client:
        with pytest.raises(ConnectionResetError):
            async with client.answer("b3") as answer:
                await answer.write(model())
        told = await client.request("GET", f"/answers/{answer.message_id}")
        assert (told["state"], told["reason"], told["content"]) == (
            "failed",
            "ConnectionResetError",
            "so far",
        )


@pytest.mark.gen_test
async def test_somebody_stops_an_asynchronous_one(
    server: RunningServer, signer: TokenSigner
) -> None:
    is_closed = asyncio.Event()

    async def model() -> AsyncIterator[str]:
        try:
            while True:
                yield "word "
                await asyncio.sleep(0.01)
        finally:
            is_closed.set()

    async with AsyncClient(server.url, signer.service("shop")) as client:
        async with client.answer("b4") as answer:
            writing = asyncio.create_task(answer.write(model()))
            await asyncio.sleep(0.05)
            await client.request("POST", f"/answers/{answer.message_id}/cancel", {})
            await writing
        assert answer.state == "cancelled"
        assert is_closed.is_set()
        with pytest.raises(NotFound):
            await client.request("GET", "/answers/msg_unknown")


@pytest.mark.gen_test
async def test_a_stopped_answer_closes_a_generator(
    server: RunningServer, signer: TokenSigner
) -> None:
    words = (word for word in WORDS)
    async with (
        AsyncClient(server.url, signer.service("shop")) as client,
        client.answer("b5") as answer,
    ):
        await client.request("POST", f"/answers/{answer.message_id}/cancel", {})
        await answer.write(words)
        raise AssertionError("not reached")
    assert (answer.state, list(words)) == ("cancelled", [])


def test_it_goes_on_after_a_crash(tmp_path: Path, signer: TokenSigner) -> None:
    """The server stores behind: what it had confirmed, and lost, is sent again."""
    servers = [RunningServer(tmp_path)]
    way = MovingTransport(servers[0].port)
    http = httpx.Client(transport=way)
    try:
        with Client(servers[0].url, signer.service("shop"), http=http) as client:
            with client.answer("c1") as answer:
                for number, word in enumerate(WORDS):
                    if number == 25:
                        servers[0].kill()
                        servers.append(RunningServer(tmp_path))
                        way.port = servers[1].port
                    answer.write(word)
            told = client.request("GET", f"/answers/{answer.message_id}")
            assert (told["state"], told["content"]) == ("completed", TEXT)
        servers[1].stop()
    finally:
        for server in servers:
            server.kill()
