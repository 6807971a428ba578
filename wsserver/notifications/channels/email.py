"""E-mail channel, by SMTP."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import KW_ONLY, dataclass
from email.message import EmailMessage
from importlib import import_module
from typing import Any, ClassVar

from wsserver.addresses.contact import MailServer, Sender, parse_mail_address
from wsserver.notifications.channels.base import Job, Limits, Outcome, failed, retry, sent
from wsserver.notifications.channels.mail_message import compose
from wsserver.notifications.http import Redact, excerpt
from wsserver.protocol.notifications import ChannelName, Contact

LIMITS = Limits(concurrency=4, rate_per_s=10.0, timeout_s=40.0)
STEP_TIMEOUT_S = 10.0
"""Timeout of connecting, and of each answer of the server."""


@dataclass(eq=False, repr=False)
class EmailChannel:
    """Sends mails by one SMTP server, with a new connection for each attempt.

    ``server`` None: not configured. ``tls`` None: the trust store of the system. A server requires
    the package of the extra ``email`` (``ImportError``), which the check of the settings reports.
    """

    server: MailServer | None
    sender: Sender | None
    _: KW_ONLY
    frontend_url: str | None
    redact: Redact
    tls: ssl.SSLContext | None = None
    step_timeout_s: float = STEP_TIMEOUT_S
    limits: Limits = LIMITS

    name: ClassVar[ChannelName] = "email"

    def __post_init__(self) -> None:
        if self.server is not None:
            self._smtp: Any = import_module("aiosmtplib")
            if self.tls is None and self.server.security != "plain":
                self.tls = ssl.create_default_context()

    @property
    def is_configured(self) -> bool:
        """Whether server and sender are configured."""
        return self.server is not None and self.sender is not None

    def has_address(self, contact: Contact) -> bool:
        """Whether the user has an e-mail address."""
        return bool(contact.email)

    async def send(self, job: Job) -> Outcome:
        """Send one mail.

        5xx is a permanent failure; 4xx, no connection or no answer a temporary one.
        """
        if self.server is None or self.sender is None:
            return failed("not configured")
        try:
            to = parse_mail_address(job.contact.email or "")
        except ValueError as error:
            return failed(f"the address {error}")
        message = compose(job, to, self.sender, self.frontend_url)
        client = self._client(self.server)
        conversation = asyncio.ensure_future(
            self._hand_in(client, message, self.sender.address, to)
        )
        try:
            await asyncio.wait({conversation})
            return sent(excerpt(conversation.result(), self.redact))
        except asyncio.CancelledError:
            await _end(conversation)
            raise
        except self._smtp.SMTPRecipientsRefused as error:
            return self._refused(error.recipients[0])
        except self._smtp.SMTPResponseException as error:
            return self._refused(error)
        except (self._smtp.SMTPException, OSError) as error:
            return retry(excerpt(str(error), self.redact))
        finally:
            client.close()

    async def close(self) -> None:
        """Nothing to close."""

    def _client(self, server: MailServer) -> Any:
        return self._smtp.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=self.tls,
            timeout=self.step_timeout_s,
        )

    async def _hand_in(self, client: Any, message: EmailMessage, sender: str, to: str) -> str:
        """The SMTP conversation; returns the final answer of the server."""
        await client.connect()
        _, answer = await client.send_message(message, sender=sender, recipients=[to])
        await self._say_goodbye(client)
        return str(answer)

    async def _say_goodbye(self, client: Any) -> None:
        """Quit; errors are ignored, as the mail has been accepted."""
        try:
            await client.quit()
        except (self._smtp.SMTPException, OSError):
            pass

    def _refused(self, error: Any) -> Outcome:
        detail = excerpt(f"{error.code} {error.message}", self.redact)
        return failed(detail) if error.code >= 500 else retry(detail)


async def _end(conversation: asyncio.Future[str]) -> None:
    """Cancel it until it ends: before Python 3.12 ``wait_for``, which is in there, may miss one."""
    while not conversation.done():
        conversation.cancel()
        await asyncio.wait({conversation}, timeout=0.05)
    if not conversation.cancelled():
        conversation.exception()  # retrieved
