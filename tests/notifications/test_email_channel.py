"""E-mail, against a real SMTP server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.certificates import Authority
from tests.support.channel_jobs import CANARY, REDACT, job
from tests.support.mail_sink import MailSink, SilentServer, SmtpServer
from wsserver.addresses.contact import parse_sender, parse_smtp_url
from wsserver.notifications.channels.email import EmailChannel
from wsserver.protocol.notifications import Contact

TO = Contact(user_id="u1", email="li@example.com")


@pytest.fixture
def sink() -> MailSink:
    return MailSink()


@pytest.fixture
def smtp(io_loop: IOLoop, sink: MailSink) -> Iterator[SmtpServer]:
    server = SmtpServer(sink)
    yield server
    io_loop.run_sync(server.stop)


def content_of(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content.replace("\r\n", "\n")


def channel(url: str, **options: Any) -> EmailChannel:
    return EmailChannel(
        parse_smtp_url(url),
        parse_sender("客服中心 <notify@shop.example>"),
        frontend_url="https://app.example.com",
        redact=REDACT,
        **options,
    )


@pytest.mark.gen_test
async def test_a_mail_arrives_as_text_and_html(smtp: SmtpServer, sink: MailSink) -> None:
    await smtp.start()
    outcome = await channel(f"smtp://127.0.0.1:{smtp.port}").send(job(TO))
    assert outcome == ("sent", "2.0.0 queued as 4711", None)
    (mail,) = sink.mails
    assert sink.envelopes == [("notify@shop.example", ["li@example.com"])]
    assert mail["Subject"] == "设备状态变化"
    assert mail["From"].addresses[0].display_name == "客服中心"
    assert mail["From"].addresses[0].addr_spec == "notify@shop.example"
    assert mail["To"] == "li@example.com"
    assert mail["Message-ID"] == "<delivery_01@shop.example>"
    assert mail["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert content_of(mail, "plain") == (
        "设备 张三的微信 状态从 在线 变更为 离线\n\nhttps://app.example.com/devices/7\n"
    )
    assert '<a href="https://app.example.com/devices/7">打开</a>' in content_of(mail, "html")
    assert sink.raw[0].isascii()


@pytest.mark.gen_test
async def test_texts_cannot_add_headers_or_markup(smtp: SmtpServer, sink: MailSink) -> None:
    await smtp.start()
    nasty = job(
        TO,
        title="a\r\nBcc: evil@example.com\r\n\r\n<b>",
        message='<script>alert("x")</script>\r\n.\r\nQUIT\r\n',
        action_url="javascript:alert(1)",
        type="urgent",
        locale="en",
    )
    assert (await channel(f"smtp://127.0.0.1:{smtp.port}").send(nasty)).result == "sent"
    (mail,) = sink.mails
    assert mail["Bcc"] is None
    assert mail["Subject"] == "a Bcc: evil@example.com <b>"
    assert mail["Importance"] == "high"
    assert sink.envelopes[0][1] == ["li@example.com"]
    content = content_of(mail, "html")
    assert "<script" not in content
    assert "<b>" not in content
    assert "javascript" not in content
    assert "\n.\nQUIT" in content_of(mail, "plain")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "title",
    [
        "=?utf-8?q?=0D=0ABcc:_evil@example.com?=",
        "好 =?utf-8?q?=0D=0A=0D=0A<p>?=",
        "=?utf-8?b?//8=?=",
        "a " * 128,
        "a" * 256,
        "警报" * 128,
        '👨‍👩‍👧 Re: (a) "b" <c@d>',
    ],
)
async def test_a_subject_is_the_title_whatever_it_looks_like(
    smtp: SmtpServer, sink: MailSink, title: str
) -> None:
    await smtp.start()
    ordinary, odd = job(TO, title="Backup"), job(TO, title=title)
    for each in (ordinary, odd):
        assert (await channel(f"smtp://127.0.0.1:{smtp.port}").send(each)).result == "sent"
    first, second = sink.mails
    assert second["Subject"] == title.strip()
    assert second.keys() == first.keys()
    assert sink.raw[0].count(b"\r\nSubject: Backup\r\n") == 1
    assert max(len(line) for line in sink.raw[1].splitlines()) <= 78


@pytest.mark.gen_test
@pytest.mark.parametrize("address", ["a@b\r\nBcc:x", "a@b, c@d", "A <a@b>", "", None])
async def test_one_recipient_or_none(smtp: SmtpServer, sink: MailSink, address: str | None) -> None:
    await smtp.start()
    contact = Contact(user_id="u1", email=address)
    outcome = await channel(f"smtp://127.0.0.1:{smtp.port}").send(job(contact))
    assert outcome.result == "failed"
    assert sink.mails == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("rcpt", "data", "result"),
    [
        ("550 5.1.1 no such user", "", "failed"),
        ("450 4.2.1 mailbox busy", "", "retry"),
        ("", "554 5.7.1 looks like spam", "failed"),
        ("", "452 4.3.1 no space", "retry"),
        ("421 4.3.2 shutting down", "", "retry"),
    ],
)
async def test_refusals_for_good_and_for_now(
    smtp: SmtpServer, sink: MailSink, rcpt: str, data: str, result: str
) -> None:
    sink.answer_rcpt, sink.answer_data = rcpt, data
    await smtp.start()
    outcome = await channel(f"smtp://127.0.0.1:{smtp.port}").send(job(TO))
    assert outcome == (result, rcpt or data, None)


@pytest.mark.gen_test
async def test_what_the_provider_says_is_shown_short_and_without_secrets(
    smtp: SmtpServer, sink: MailSink
) -> None:
    sink.answer_rcpt = f"550 {CANARY} \x1b[2J" + "x" * 300
    await smtp.start()
    outcome = await channel(f"smtp://127.0.0.1:{smtp.port}").send(job(TO))
    assert outcome.detail.startswith("550 [redacted] \\x1b[2Jxxx")
    assert len(outcome.detail) == 200


@pytest.mark.gen_test
async def test_down_and_back_again(smtp: SmtpServer, sink: MailSink) -> None:
    await smtp.start()
    email = channel(f"smtp://127.0.0.1:{smtp.port}")
    await smtp.stop()
    outcome = await email.send(job(TO))
    assert outcome.result == "retry"
    assert "Error connecting to 127.0.0.1" in outcome.detail
    await smtp.start()
    assert (await email.send(job(TO))).result == "sent"
    assert len(sink.mails) == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("greeting", [b"", b"220 mail.test\r\n"])
async def test_a_server_that_hangs_is_given_up(greeting: bytes) -> None:
    server = SilentServer(greeting)
    await server.start()
    email = channel(f"smtp://127.0.0.1:{server.port}", step_timeout_s=0.1)
    outcome = await email.send(job(TO))
    assert outcome.result == "retry"
    assert "imed out" in outcome.detail
    await server.left.wait()
    await server.stop()


@pytest.mark.gen_test
@pytest.mark.parametrize("greeting", [b"", b"220 mail.test\r\n"])
async def test_a_cancellation_leaves_no_connection(greeting: bytes) -> None:
    server = SilentServer(greeting)
    await server.start()
    sending = asyncio.ensure_future(channel(f"smtp://127.0.0.1:{server.port}").send(job(TO)))
    await server.connected.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await server.left.wait()
    await server.stop()


@pytest.mark.gen_test
@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_tls_with_a_login(
    smtp: SmtpServer, sink: MailSink, scheme: str, tmp_path: Path
) -> None:
    sink.login = ("shop", f"{CANARY}/ü")
    authority = Authority(tmp_path)
    contexts = {"smtps": "tls", "smtp+starttls": "starttls"}
    await smtp.start(**{contexts[scheme]: authority.server(["localhost", "127.0.0.1"])})
    url = f"{scheme}://shop:{CANARY}%2F%C3%BC@localhost:{smtp.port}"
    outcome = await channel(url, tls=authority.client).send(job(TO))
    assert outcome.result == "sent", outcome.detail
    assert sink.encrypted == [True]


@pytest.mark.gen_test
async def test_a_wrong_password_is_not_shown(smtp: SmtpServer, sink: MailSink) -> None:
    sink.login = ("shop", "right")
    await smtp.start()
    outcome = await channel(f"smtp://shop:{CANARY}@127.0.0.1:{smtp.port}").send(job(TO))
    assert outcome.result == "failed"
    assert outcome.detail.startswith("535")
    assert CANARY not in outcome.detail


@pytest.mark.gen_test
@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_a_certificate_that_is_not_trusted(
    smtp: SmtpServer, sink: MailSink, scheme: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    contexts = {"smtps": "tls", "smtp+starttls": "starttls"}
    await smtp.start(**{contexts[scheme]: authority.server(["localhost", "127.0.0.1"])})
    outcome = await channel(f"{scheme}://localhost:{smtp.port}").send(job(TO))
    assert outcome.result == "retry"
    assert "certificate" in outcome.detail.lower()
    assert sink.mails == []


@pytest.mark.gen_test
async def test_starttls_is_never_done_without(smtp: SmtpServer, sink: MailSink) -> None:
    await smtp.start()
    outcome = await channel(f"smtp+starttls://127.0.0.1:{smtp.port}").send(job(TO))
    assert outcome.result == "retry"
    assert "STARTTLS" in outcome.detail
    assert sink.mails == []


@pytest.mark.gen_test
async def test_plain_stays_plain(smtp: SmtpServer, sink: MailSink, tmp_path: Path) -> None:
    await smtp.start(starttls=Authority(tmp_path).server(["localhost", "127.0.0.1"]))
    assert (await channel(f"smtp://127.0.0.1:{smtp.port}").send(job(TO))).result == "sent"
    assert sink.encrypted == [False]


def test_without_settings_it_says_so() -> None:
    email = EmailChannel(None, None, frontend_url=None, redact=REDACT)
    assert not email.is_configured
    assert email.has_address(TO)
    assert not email.has_address(Contact(user_id="u1"))
