"""Simulated partners on loopback: a messenger with GeWe's API, and an AI as OpenAI's."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

APP_ID = "wx_demo"
OWNER = "wxid_shop"
"""The account's own id in the messenger."""
FIRST_ID = 5_271_007_655_758_710_001
TOKENS_PER_ANSWER = 85

ANSWERS = (
    "Yes, the blue one is in stock. It ships today, and you have it on Thursday.",
    "You can send it back within thirty days, in the box that it came in, and then we will",
)


class Partner:
    """An HTTP server on a free port of 127.0.0.1."""

    def __init__(self, path: str, handler: type[RequestHandler], key: str) -> None:
        self.key = key
        self.port = 0
        self._application = Application([(path, handler, {"partner": self})], log_function=_silent)

    def start(self) -> None:
        """Listen."""
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self._server = HTTPServer(self._application)
        self._server.add_sockets(sockets)

    async def stop(self) -> None:
        """Stop listening, and close what is open."""
        self._server.stop()
        await self._server.close_all_connections()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


class Delivered(NamedTuple):
    """A text that arrived at a contact."""

    contact: str
    text: str


class Messenger(Partner):
    """A WeChat account as GeWe's API shows it: takes texts, and posts callbacks."""

    def __init__(self, token: str, on_text: Callable[[Delivered], None]) -> None:
        super().__init__("/v2/api/message/postText", _PostText, token)
        self.delivered: list[Delivered] = []
        self.refusals = 1
        """Requests that it refuses at first, with the token in its text."""
        self.on_text = on_text
        self.callback = ""
        """The server's address for callbacks."""
        self._last_id = FIRST_ID
        self._arrived = asyncio.Event()

    def take(self, delivered: Delivered) -> None:
        """A text arrives at a contact."""
        self.delivered.append(delivered)
        self._arrived.set()
        self.on_text(delivered)

    async def until(self, wanted: Callable[[Delivered], bool]) -> None:
        """Wait until a text has arrived that is wanted."""
        while not any(map(wanted, self.delivered)):
            self._arrived.clear()
            await self._arrived.wait()

    def new_id(self) -> int:
        """The id of a message."""
        self._last_id += 1
        return self._last_id

    async def write(self, contact: str, name: str, text: str) -> int:
        """A contact writes; the status of the server's answer."""
        body = {
            "TypeName": "AddMsg",
            "Appid": APP_ID,
            "Wxid": OWNER,
            "Data": {
                "MsgId": self._last_id % 10**9,
                "FromUserName": {"string": contact},
                "ToUserName": {"string": OWNER},
                "MsgType": 1,
                "Content": {"string": text},
                "CreateTime": int(time.time()),
                "PushContent": f"{name} : {text}",
                "NewMsgId": self.new_id(),
            },
        }
        request = HTTPRequest(
            self.callback,
            "POST",
            {"Content-Type": "application/json"},
            json.dumps(body, ensure_ascii=False).encode(),
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        return answer.code


class _PostText(RequestHandler):
    """Sends a text to a contact."""

    def initialize(self, partner: Messenger) -> None:
        self.partner = partner

    def post(self) -> None:
        messenger = self.partner
        if self.request.headers.get("X-GEWE-TOKEN") != messenger.key:
            self.finish({"ret": 500, "msg": "wrong token"})
            return
        if messenger.refusals > 0:
            messenger.refusals -= 1
            self.finish({"ret": 500, "msg": f"busy, token {messenger.key}"})
            return
        body = json.loads(self.request.body)
        delivered = Delivered(body["toWxid"], body["content"])
        messenger.take(delivered)
        data = {"toWxid": delivered.contact, "newMsgId": messenger.new_id(), "type": 1}
        self.finish({"ret": 200, "msg": "ok", "data": data})


class Assistant(Partner):
    """An AI with OpenAI's API. It streams word by word; its second answer does not end by itself.

    ``word_s``: time between words.
    """

    def __init__(self, key: str, word_s: float, answers: Sequence[str] = ANSWERS) -> None:
        super().__init__("/v1/chat/completions", _Completions, key)
        self.word_s = word_s
        self.answers = answers
        self.refusals = 1
        """Requests that it refuses at first, with the key in its text."""
        self.asked = 0
        self.left_at: float | None = None
        """When the server closed the connection of an answer that was not finished; monotonic."""
        self.left = asyncio.Event()


class _Completions(RequestHandler):
    """Answers a conversation."""

    def initialize(self, partner: Assistant) -> None:
        self.partner = partner

    async def post(self) -> None:
        assistant = self.partner
        if self.request.headers.get("Authorization") != f"Bearer {assistant.key}":
            self.set_status(401)
            self.finish({"error": {"message": "wrong key"}})
            return
        if assistant.refusals > 0:
            assistant.refusals -= 1
            self.set_status(503)
            self.finish({"error": {"message": f"overloaded, key {assistant.key}"}})
            return
        number = assistant.asked % len(assistant.answers)
        assistant.asked += 1
        is_endless = number == 1
        self.set_header("Content-Type", "text/event-stream")
        try:
            for word in assistant.answers[number].split(" "):
                await self._event({"choices": [{"index": 0, "delta": {"content": f"{word} "}}]})
                await asyncio.sleep(assistant.word_s)
            if is_endless:
                await assistant.left.wait()
                return
            usage = {"total_tokens": TOKENS_PER_ANSWER}
            await self._event({"choices": [], "usage": usage})
            self.write("data: [DONE]\n\n")
            await self.flush()
        except StreamClosedError:
            pass

    def on_connection_close(self) -> None:
        self.partner.left_at = time.monotonic()
        self.partner.left.set()

    async def _event(self, data: dict[str, Any]) -> None:
        self.write(f"data: {json.dumps(data)}\n\n")
        await self.flush()


def _silent(_: RequestHandler) -> None:
    """No log of requests."""
