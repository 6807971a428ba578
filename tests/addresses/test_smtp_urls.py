"""Parsing of SMTP URLs."""

from __future__ import annotations

import pytest

from wsserver.addresses.smtp import MailServer, parse_smtp_url


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://localhost", MailServer("localhost", 25, "plain", None, None)),
        ("smtp://[::1]:2525/", MailServer("::1", 2525, "plain", None, None)),
        (
            "smtp+starttls://u%40h:p%2Fw%3A@mail.example.com",
            MailServer("mail.example.com", 587, "starttls", "u@h", "p/w:"),
        ),
        ("smtps://u:p@mail.example.com", MailServer("mail.example.com", 465, "tls", "u", "p")),
    ],
)
def test_a_server(url: str, server: MailServer) -> None:
    assert parse_smtp_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com",
        "http://mail.example.com",
        "smtp://",
        "smtp://:25",
        "smtp://h:0",
        "smtp://h:99999",
        "smtp://h:x",
        "smtp://h/path",
        "smtp://h?tls=1",
        "smtp://h\r\n",
        "smtp://u@h",
        "smtp://:canary@h",
    ],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        parse_smtp_url(url)
    assert "canary" not in str(caught.value)


def test_a_repr_has_no_credentials() -> None:
    assert "canary" not in repr(parse_smtp_url("smtp://canary:canary@h"))
