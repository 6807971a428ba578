"""A server with made-up customers, sales people and traffic, for pictures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from scripts.pictures.history import snapshots
from wsserver import Server, Settings
from wsserver.web.api.context import WebContext

NODE = "web-1"
OPERATOR = "dana.ops"
CUSTOMERS = 160
SALES = ("wang.fang", "li.na", "zhang.wei", "anna.schmidt", "tom.baker")
NAMES = ("王芳", "李娜", "张伟", "Anna Schmidt", "Tom Baker")
COMPANIES = ("Acme Logistics", "北京云图科技", "Hanse Optik", "上海蓝海贸易", "Fjord Energi")
LINES = (
    "您好，请问订单什么时候发货？",
    "Hello, is the blue one still in stock?",
    "我想修改一下收货地址。",
    "Could you send me the invoice again, please?",
    "谢谢，已经收到了。",
    "The tracking page shows nothing yet.",
    "可以开增值税发票吗？",
    "Perfect, that works for me.",
)
AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/131.0.0.0 Safari/537.36",
    "okhttp/4.12.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
)
AGENT_LINE = "Your parcel is on its way."
KEY = "key-of-the-callback"
HOSTILE = "<img src=x onerror=alert(1)>"


class World:
    """The running server, and what was made in it."""

    def __init__(self, server: Server, context: WebContext) -> None:
        self.server, self.context = server, context
        self.session_id = "order-2041"
        self.message_id = ""
        self.notification_id = ""
        self.answer_id = ""
        self.task_id = ""
        self.clients: list[ClientConnection] = []

    @property
    def connection_id(self) -> str:
        """Of one of the sales people."""
        (first, *_) = self.server.connections(user_id=SALES[0])
        return first.connection_id

    @property
    def url(self) -> str:
        """The server's address."""
        return self.server.url

    async def call(self, method: str, path: str, **body: Any) -> Any:
        """A request to the REST API, by an administrator."""
        token = self.server.token("backend", role="admin")
        request = HTTPRequest(
            f"{self.url}/api/v1/websocket{path}",
            method,
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            json.dumps(body),
        )
        return json.loads((await AsyncHTTPClient().fetch(request)).body)

    def ticket(self, user_id: str = OPERATOR, role: str = "admin", **claims: Any) -> str:
        """A ticket for a sign-in."""
        username = {OPERATOR: "Dana"}.get(user_id)
        return self.server.ticket(
            user_id, ttl_s=600.0, role=role, username=username, sessions="*", **claims
        )


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A server with data and traffic; both end with the block."""
    settings = Settings(
        port=0,
        data_dir=folder,
        jwt_secret=secrets.token_hex(32),
        node=NODE,
        webhook_urls=("http://127.0.0.1:9/hook#alert_*|notification_failed|order.*",),
        webhook_secret=secrets.token_hex(16),
        allow_loopback_urls=True,
        smtp_url="smtp://127.0.0.1:9",
        mail_from="ops@example.com",
        message_rate=1000,
        message_burst=1000,
        delivery_attempts=2,
        delivery_backoff_s=0.2,
        access_log=False,
        extension_settings={"accounts": _accounts(), "responders": _responders()},
    )
    async with Server(settings) as server, asyncio.TaskGroup() as tasks:
        made = World(server, server._context)
        await _store_history(made)
        await _connect_all(made, tasks)
        await _talk_once(made)
        await _notify(made)
        await _act(made)
        await _answer(made)
        await _work(made)
        await _doors(made)
        traffic = tasks.create_task(_traffic(made))
        try:
            yield made
        finally:
            traffic.cancel()
            for client in made.clients:
                client.transport.abort()


def _accounts() -> dict[str, Any]:
    """Messengers that do not answer."""
    account = {"kind": "webhook", "url": "http://127.0.0.1:9/out", "token": "t" * 20, "key": KEY}
    wechat = {**account, "organization_id": "org-0", "members": [SALES[0]]}
    return {"wechat-sales": wechat, "whatsapp": account}


def _responders() -> dict[str, Any]:
    """AI services that do not answer."""
    shop = {"kind": "openai", "url": "http://127.0.0.1:9/v1", "api_key": "k" * 20, "model": "small"}
    sender = {"user_id": "mia", "username": "Mia"}
    return {"shop-ai": {**shop, "sender": sender}, "night-ai": {**shop, "kind": "fastgpt"}}


async def _store_history(made: World) -> None:
    for snapshot in snapshots(made.context.clock.wall(), NODE):
        await made.context.snapshots.add(snapshot)


async def _connect_all(made: World, tasks: asyncio.TaskGroup) -> None:
    for number in range(CUSTOMERS):
        session = made.session_id if number == 0 else f"order-{2041 + number}"
        await _connect(made, tasks, f"customer-{number:03}", "user", session)
    for number, user_id in enumerate(SALES):
        sessions = [f"order-{2041 + n}" for n in range(number, CUSTOMERS, len(SALES) * 4)]
        if made.session_id not in sessions:
            sessions.append(made.session_id)
        organization = f"org-{number % 3}"
        await _connect(
            made,
            tasks,
            user_id,
            "manager",
            *sessions,
            name=NAMES[number],
            organization=organization,
        )
    await _connect(made, tasks, "eve", "user", "order-2050", name=HOSTILE)


async def _connect(
    made: World,
    tasks: asyncio.TaskGroup,
    user_id: str,
    role: str,
    *sessions: str,
    name: str | None = None,
    organization: str = "org-0",
) -> None:
    token = made.server.token(
        user_id,
        role=role,
        username=name or f"Customer {user_id[-3:]}",
        organization_id=organization,
        sessions=list(sessions),
    )
    address = made.server.websocket_url("/ws/chat")
    agent = AGENTS[len(made.clients) % len(AGENTS)]
    client = await connect(
        address,
        subprotocols=["wsserver.v1", f"bearer.{token}"],  # type: ignore[list-item]
        user_agent_header=agent,
        additional_headers={"X-Forwarded-For": "192.0.2.7"},
    )
    for session in sessions:
        await client.send(json.dumps({"type": "join_session", "session_id": session}))
    made.clients.append(client)
    tasks.create_task(_listen(client))


async def _listen(client: ClientConnection) -> None:
    """Acknowledge all messages, and answer pings."""
    with contextlib.suppress(ConnectionClosed):
        async for text in client:
            push = json.loads(text)
            if push["type"] == "ping":
                await client.send(json.dumps({"type": "pong", "id": push["id"]}))
            elif "stream" in push and "id" in push:
                acknowledged = {"type": "ack", "ids": [push["id"]]}
                await client.send(json.dumps(acknowledged))


async def _talk_once(made: World) -> None:
    """A conversation in one session, for the pages of it and of one of its messages."""
    sales = {"user_id": SALES[0], "username": NAMES[0], "role": "manager"}
    customer = {"user_id": "customer-000", "username": "Customer 000", "role": "user"}
    for number, line in enumerate((*LINES, HOSTILE)):
        sent = await made.server.send_to_session(
            made.session_id, "new_message", content=line, sender=(customer, sales)[number % 2]
        )
        made.message_id = made.message_id or sent.message_id
    await made.server.replace_members(
        made.session_id, ["customer-000", SALES[0], "li.na", "away.user"]
    )


async def _notify(made: World) -> None:
    await made.call(
        "POST",
        "/notify",
        user_ids=[SALES[0], "away.user"],
        template="device_status",
        params={
            "device_id": "device_123",
            "device_name": "张三的微信",
            "old_status": "online",
            "new_status": "offline",
        },
    )
    for user_id in ("away.user", SALES[1]):
        await made.call("PUT", f"/users/{user_id}/contacts", email=f"{user_id}@example.com")
    accepted = await made.call(
        "POST",
        "/notify",
        user_ids=["away.user"],
        title="Budget exceeded",
        message="Acme Logistics has used 104 % of its budget for June.",
        type="error",
    )
    made.notification_id = accepted["notification_id"]
    hostile = {"title": HOSTILE, "message": "javascript:alert(1)", "type": "info"}
    await made.call("POST", "/notify", user_ids=list(SALES), **hostile)
    later = {"title": "Maintenance at 22:00", "message": "About five minutes.", "type": "info"}
    await made.call("POST", "/notify", broadcast=True, **later)


async def _act(made: World) -> None:
    """Actions for the audit trail, and events for the webhook."""
    await made.call("POST", "/users/disconnect", user_id="customer-159", reason="spam")
    await made.call("POST", "/tokens/revoke", user_id="customer-158")
    await made.call("PUT", "/sessions/order-2050/members", user_ids=["eve", SALES[2]])
    announcement = {"type": "announcement", "data": {"text": "Maintenance at 22:00"}}
    await made.call("POST", "/broadcast", **announcement)
    made.server.emit("alert_raised", alert="error_rate", value=0.081, threshold=0.05, window_s=60)


async def _answer(made: World) -> None:
    """A conversation with a title that an AI holds, and its answer, which is still growing."""
    path = f"/sessions/{made.session_id}"
    await made.call("PATCH", path, title="Order 2041: delivery", metadata={"crm": "A-17"})
    await made.call("POST", f"{path}/holder", holder={"type": "ai", "id": "fastgpt"})
    sender = {"user_id": "assistant", "username": "Assistant", "role": "ai"}
    started = await made.call("POST", f"{path}/answers", sender=sender, content="您好！")
    made.answer_id = started["message_id"]
    for seq, text in enumerate(("您的订单", "今天下午发货，", "预计明天送达。"), 1):
        await made.call("POST", f"/answers/{made.answer_id}/append", seq=seq, text=text)


async def _work(made: World) -> None:
    """Tasks, and quotas that are used."""
    steps = [{"title": each} for each in ("Call the customer", "Check the stock", "Send the offer")]
    for number, title in enumerate(("Offer for Acme", "Onboard Hanse Optik", HOSTILE)):
        task = await made.call(
            "POST",
            "/tasks",
            title=title,
            steps=steps,
            assignee={"user": SALES[number]},
            session_id=made.session_id,
            due_at="2030-01-15T14:30:00Z",
        )
        made.task_id = made.task_id or task["task_id"]
    path = f"/tasks/{made.task_id}"
    await made.call("PATCH", path, state="running", step=1, progress=0.4, note="Reached by phone")
    for number, used in enumerate((812_000, 431_000, 998_500)):
        scope = f"organization:org-{number}"
        details = {"period": "month", "budget": 500, "currency": "CNY", "at_limit": "stop"}
        path = f"/quotas/{scope.replace(':', '%3A')}"
        await made.call("PUT", path, limit=1_000_000, unit="tokens", **details)
        for share, source in ((0.7, "fastgpt"), (0.3, "translation")):
            report = {"amount": int(used * share), "cost": used * share / 4000, "source": source}
            await made.call("POST", "/usage", scope=scope, **report)


async def _doors(made: World) -> None:
    """Contacts of a messenger, to whom nothing can be sent; sessions that a responder holds."""
    for number, line in enumerate(LINES[:3]):
        report = {
            "type": "message",
            "id": f"m{number}",
            "contact": f"wxid_{number}",
            "content": line,
        }
        address = f"{made.url}/intake/webhook/wechat-sales?key={KEY}"
        headers = {"Content-Type": "application/json"}
        request = HTTPRequest(address, "POST", headers, json.dumps(report))
        await AsyncHTTPClient().fetch(request)
        session = f"webhook:wechat-sales:wxid_{number}"
        await made.server.send_to_session(session, "new_message", content=AGENT_LINE)
    for number in (2045, 2046, 2047):
        path = f"/sessions/order-{number}"
        await made.call("PATCH", path, title=f"Order {number}: {COMPANIES[number % 5]}")
        await made.call("POST", f"{path}/holder", holder={"type": "ai", "id": "shop-ai"})
    for number in (2048, 2049):
        await made.call(
            "PATCH", f"/sessions/order-{number}", state="pending", title=LINES[number % 8]
        )


async def _traffic(made: World) -> None:
    """Messages and typing, until cancelled."""
    chance = random.Random(3)  # noqa: S311 - the same each time
    while True:
        number = chance.randrange(CUSTOMERS)
        client = made.clients[number]
        session = f"order-{2041 + number}"
        command: dict[str, Any] = {"type": "typing", "session_id": session, "is_typing": True}
        if chance.random() < 0.6:
            command = {
                "type": "send_message",
                "session_id": session,
                "content": chance.choice(LINES),
            }
        with contextlib.suppress(ConnectionClosed):
            await client.send(json.dumps(command))
        await asyncio.sleep(chance.expovariate(25))
