"""An SMTP server (aiosmtpd) on the test's loop that records mails, and a silent TCP server."""

from __future__ import annotations

import asyncio
import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class MailSink:
    """Received mails, and the responses to give."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.encrypted: list[bool] = []
        self.answer_rcpt = ""
        self.answer_data = ""
        self.login: tuple[str, str] | None = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.login is not None and not session.authenticated:
            return "530 5.7.0 log in first"
        if self.answer_rcpt:
            return self.answer_rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.answer_data:
            return self.answer_data
        raw = envelope.original_content or b""
        self.raw.append(raw)
        self.mails.append(message_from_bytes(raw, policy=policy.default))
        self.envelopes.append((envelope.mail_from or "", envelope.rcpt_tos))
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 2.0.0 queued as 4711"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self.login, handled=False)


class SmtpServer:
    """Listens on 127.0.0.1; can be taken down, and come back on the same port."""

    def __init__(self, sink: MailSink) -> None:
        self.sink = sink
        self.port = 0
        self._listening: asyncio.Server | None = None

    async def start(
        self, *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        loop = asyncio.get_running_loop()

        def protocol() -> SMTP:
            return SMTP(
                self.sink,
                hostname="mail.test",
                tls_context=starttls,
                auth_require_tls=False,
                authenticator=self.sink.authenticate,
                loop=loop,
            )

        self._listening = await loop.create_server(protocol, "127.0.0.1", self.port, ssl=tls)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None


class SilentServer:
    """A TCP server that sends ``greeting`` and then nothing."""

    def __init__(self, greeting: bytes = b"") -> None:
        self._greeting = greeting
        self.port = 0
        self.connected = asyncio.Event()
        self.left = asyncio.Event()

    async def start(self) -> None:
        self._listening = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._listening.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting)
        self.connected.set()
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        self.left.set()
        writer.close()
