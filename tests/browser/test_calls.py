"""Calls between pages of a real browser, with media that its fake camera and microphone make."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from scripts.backends.free_ports import free_port
from tests.support.browser_pages import (
    NEEDS_CHROMIUM,
    faultless_page,
    only_connection,
    url_of,
)
from tests.support.waiting import until
from tests.support.web_server import Server, StartServer, token
from wsserver.protocol.close_codes import CloseCode

pytestmark = NEEDS_CHROMIUM

OPEN = """
    async ({token, shareTabs = false}) => {
        const { WsClient } = await import("/static/client.js");
        const { RtcCalls } = await import("/static/client/rtc.js");
        window.client = new WsClient({ token, minDelayMs: 10, shareTabs });
        await client.connect();
        await client.join("s1");
        window.calls = new RtcCalls(client);
        window.notified = [];
        client.addEventListener("notification", ({ detail }) => notified.push(detail));
        window.expect = () => {
            window.ringing = new Promise((resolve) => {
                const take = ({ detail }) => resolve((window.call = detail.call));
                calls.addEventListener("incoming", take, { once: true });
            });
        };
        expect();
        window.until = async (test) => {
            while (!(await test())) await new Promise((resolve) => setTimeout(resolve, 20));
        };
        // What has come so far, of each kind of media.
        window.received = async () => {
            const found = { audio: 0, video: 0, pictures: 0 };
            for (const each of (await call.connection?.getStats())?.values() ?? []) {
                if (each.type !== "inbound-rtp") continue;
                found[each.kind] += each.bytesReceived ?? 0;
                if (each.framesDecoded > 0) found.pictures++;
            }
            return found;
        };
        // Media flow from now on.
        window.flows = async (...kinds) => {
            const before = await received();
            await until(async () => {
                const now = await received();
                return kinds.every((kind) => now[kind] > before[kind] + 500);
            });
        };
        // Add a moving picture, and hold back all signals until `release()`.
        window.add = () => {
            const context = document.createElement("canvas").getContext("2d");
            setInterval(() => context.fillRect(0, 0, Math.random() * 300, 150), 50);
            const send = client.command;
            const held = new Promise((resolve) => (window.release = resolve));
            client.command = async (type, fields) => {
                if (type === "call_signal") await held;
                return send.call(client, type, fields);
            };
            call.connection.addTrack(context.canvas.captureStream().getTracks()[0]);
        };
        window.start = async (media) => {
            window.call = await calls.start("s1", media);
            return call.id;
        };
    }
"""


@contextlib.asynccontextmanager
async def phone(
    chromium: Browser, server: Server, user_id: str, **claims: Any
) -> AsyncIterator[Page]:
    """A page on which a user can be called in session s1."""
    async with faultless_page(chromium, permissions=["camera", "microphone"]) as page:
        await page.goto(f"{url_of(server)}/console/chat")
        bearer = token(user_id, "user", sessions=["s1"], **claims)
        await page.evaluate(OPEN, {"token": bearer})
        yield page


@contextlib.asynccontextmanager
async def talk(chromium: Browser, server: Server) -> AsyncIterator[tuple[Page, Page]]:
    """Two pages in a call with video."""
    async with phone(chromium, server, "alice") as alice, phone(chromium, server, "bob") as bob:
        await alice.evaluate("start({ video: true })")
        await bob.evaluate("async () => { await ringing; await call.answer(); }")
        for page in (alice, bob):
            await page.evaluate("flows('audio', 'video')")
        yield alice, bob


async def state(page: Page) -> Any:
    return await page.evaluate("[call.state, call.reason, call.mediaState]")


@pytest.mark.gen_test
async def test_media_flow_and_the_first_device_has_the_call(
    chromium_with_camera: Browser, server: Server
) -> None:
    async with (
        phone(chromium_with_camera, server, "alice", username="Alice") as alice,
        phone(chromium_with_camera, server, "bob") as mobile,
        phone(chromium_with_camera, server, "bob") as laptop,
    ):
        await alice.evaluate("start({ video: true })")
        devices = (mobile, laptop)
        for device in devices:
            shown = "async () => { await ringing; return [call.peer.username, call.media]; }"
            assert await device.evaluate(shown) == ["Alice", ["audio", "video"]]
        outcomes = [
            device.evaluate("call.answer().then(() => 'here', (error) => error.code)")
            for device in devices
        ]
        found = [await outcome for outcome in outcomes]
        assert sorted(found) == ["bad_call_state", "here"]
        here = devices[found.index("here")]
        other = devices[found.index("bad_call_state")]
        await other.evaluate("until(() => calls.calls.length === 0)")
        assert not await other.evaluate("call.isHere")
        for page in (alice, here):
            await page.evaluate("flows('audio', 'video')")
            assert await page.evaluate("call.remoteStream.getTracks().length") == 2
        assert await alice.evaluate("call.peer.user_id") == "bob"
        await alice.evaluate("call.mute('audio')")
        assert await alice.evaluate("[call.isMuted('audio'), call.isMuted('video')]") == [
            True,
            False,
        ]
        await here.evaluate("call.hangUp('bye')")
        await alice.evaluate("until(() => calls.calls.length === 0)")
        assert await state(alice) == ["ended", "bye", "closed"]
        ended = "call.localStream.getTracks().every(({ readyState }) => readyState === 'ended')"
        for page in (alice, here):
            assert await page.evaluate(ended)


@pytest.mark.long
@pytest.mark.gen_test
async def test_offers_of_both_at_once_leave_both_with_everything(
    chromium_with_camera: Browser, server: Server
) -> None:
    async with talk(chromium_with_camera, server) as (alice, bob):
        for number in (1, 2):
            for page in (alice, bob):
                await page.evaluate("add()")
            for page in (alice, bob):  # neither has heard of the other's offer
                await page.evaluate(
                    "until(() => call.connection.signalingState === 'have-local-offer')"
                )
            for page in (alice, bob):
                await page.evaluate("release()")
            for page in (alice, bob):
                await page.evaluate(
                    f"""until(async () =>
                        call.connection.signalingState === "stable" &&
                        call.remoteStream.getTracks().length === {2 + number} &&
                        (await received()).pictures === {1 + number})"""
                )
        for page in (alice, bob):
            await page.evaluate("flows('audio', 'video')")
            assert await page.evaluate("call.mediaState") == "connected"


@pytest.mark.long
@pytest.mark.gen_test
async def test_a_call_outlives_the_connections_of_both(
    chromium_with_camera: Browser, server: Server
) -> None:
    async with talk(chromium_with_camera, server) as (alice, bob):
        credentials = "call.connection.localDescription.sdp.match(/ice-ufrag:(.*)/)[1]"
        for page, user_id in ((bob, "bob"), (alice, "alice")):
            before = await alice.evaluate(credentials)
            former = only_connection(server, user_id)
            await page.evaluate(
                """() => { window.again = new Promise((resolve) =>
                    client.addEventListener("ws:open", () => resolve(null), { once: true })); }"""
            )
            server.system.manager.close(former, CloseCode.SLOW_CONSUMER, "a test")
            await page.evaluate("again")
            for each in (alice, bob):
                await each.evaluate("until(() => call.peer.connected)")
            # ICE has started anew, and media flow over what it has found.
            changed = f"until(() => {credentials} !== '{before}')"
            await alice.evaluate(changed)
            for each in (alice, bob):
                await each.evaluate("until(() => call.connection.signalingState === 'stable')")
                await each.evaluate("flows('audio', 'video')")
        await alice.evaluate("call.hangUp()")
        await bob.evaluate("until(() => call.state === 'ended')")


@pytest.mark.gen_test
async def test_a_call_is_missed_declined_or_cancelled(
    chromium_with_camera: Browser, start_server: StartServer
) -> None:
    server = await start_server(call_ring_s=1.5)
    async with (
        phone(chromium_with_camera, server, "alice") as alice,
        phone(chromium_with_camera, server, "bob") as bob,
    ):
        await alice.evaluate("start()")
        await bob.evaluate("ringing")
        for page in (alice, bob):
            await page.evaluate("until(() => call.state === 'missed')")
        await bob.evaluate("until(() => notified.length === 1)")
        await bob.evaluate("expect()")
        await alice.evaluate("start()")
        await bob.evaluate("async () => { await ringing; call.hangUp('busy'); }")
        await alice.evaluate("until(() => call.state === 'declined')")
        assert await state(alice) == ["declined", "busy", "closed"]
        await bob.evaluate("expect()")
        await alice.evaluate("start()")
        await bob.evaluate("ringing")
        await alice.evaluate("call.hangUp()")
        await bob.evaluate("until(() => call.state === 'ended')")
        assert await state(bob) == ["ended", "cancelled", "closed"]


@pytest.mark.long
@pytest.mark.gen_test
async def test_of_tabs_that_share_a_connection_one_has_the_call(
    chromium_with_camera: Browser, server: Server
) -> None:
    async with (
        phone(chromium_with_camera, server, "alice") as alice,
        faultless_page(chromium_with_camera, permissions=["camera", "microphone"]) as first,
    ):
        second = await first.context.new_page()
        for tab in (first, second):
            await tab.goto(f"{url_of(server)}/console/chat")
            bearer = token("bob", "user", sessions=["s1"])
            await tab.evaluate(OPEN, {"token": bearer, "shareTabs": True})
        only_connection(server, "bob")
        await alice.evaluate("start({ video: true })")
        for tab in (first, second):
            await tab.evaluate("ringing")
        await second.evaluate("call.answer()")
        await first.evaluate("until(() => calls.calls.length === 0)")
        assert not await first.evaluate("call.isHere")
        for page in (alice, second):
            await page.evaluate("flows('audio', 'video')")
        # The first tab has the connection of both: without it, the second gets its own.
        await first.goto("about:blank")
        await alice.evaluate("until(() => call.peer.connected)")
        for page in (alice, second):
            await page.evaluate("flows('audio', 'video')")
            assert await page.evaluate("call.state") == "answered"


@pytest.mark.long
@pytest.mark.gen_test
async def test_a_page_that_is_left_hangs_up(chromium_with_camera: Browser, server: Server) -> None:
    async with talk(chromium_with_camera, server) as (alice, bob):
        await bob.goto(f"{url_of(server)}/console/chat")
        await alice.evaluate("until(() => call.state === 'ended')")
        assert (await state(alice))[1] == "page_closed"


GATHER = """
    async (servers) => {
        const pc = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: "relay" });
        pc.createDataChannel("x");
        const errors = [];
        const types = [];
        pc.onicecandidateerror = ({ errorCode }) => errors.push(errorCode);
        const done = new Promise((resolve) => (pc.onicecandidate = ({ candidate }) =>
            candidate ? types.push(candidate.type) : resolve()));
        await pc.setLocalDescription();
        await done;
        pc.close();
        return [types, errors];
    }
"""


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(shutil.which("turnserver") is None, reason="no turnserver (coturn) on PATH")
@pytest.mark.gen_test
async def test_coturn_takes_the_credentials(
    chromium_with_camera: Browser, start_server: StartServer, tmp_path: Path
) -> None:
    port = free_port()
    options = {
        "listening-ip": "127.0.0.1",
        "relay-ip": "127.0.0.1",
        "listening-port": port,
        "static-auth-secret": "north-star",
        "realm": "example.com",
        "userdb": tmp_path / "turn.db",
        "pidfile": tmp_path / "turn.pid",
    }
    command = ["turnserver", "-n", "--use-auth-secret", "--no-cli", "--no-tls", "--no-dtls"]
    command += [f"--{name}={value}" for name, value in options.items()]
    command += ["--log-file=stdout", "--simple-log"]
    url = f"turn:127.0.0.1:{port}?transport=tcp"
    turn = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        await until(lambda: is_listening(port))
        for secret, wanted in (("north-star", [["relay"], []]), ("another", [[], [401]])):
            server = await start_server(turn_url=(url,), turn_secret=secret)
            async with phone(chromium_with_camera, server, "alice") as alice:
                servers = (await alice.evaluate("client.command('ice_servers')"))["ice_servers"]
                found = await alice.evaluate(GATHER, servers)
            assert [sorted(set(each)) for each in found] == wanted
    finally:
        turn.terminate()
        turn.wait()
