"""E-mail addresses, senders, phone numbers and URLs of mail servers."""

from __future__ import annotations

import pytest

from wsserver.addresses.contact import (
    MailServer,
    parse_mail_address,
    parse_phone,
    parse_sender,
    parse_smtp_url,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b", "a@b"),
        ("wang.xiaoming+tag@Example.COM", "wang.xiaoming+tag@example.com"),
        ("o'neil@mail.example.co.uk", "o'neil@mail.example.co.uk"),
        ("x@xn--fsqu00a.xn--0zwm56d", "x@xn--fsqu00a.xn--0zwm56d"),
        ("l" * 64 + "@example.com", "l" * 64 + "@example.com"),
        ("user@münchen.example", "user@xn--mnchen-3ya.example"),
        ("user@MÜNCHEN.Example", "user@xn--mnchen-3ya.example"),
        ("a@例子.公司", "a@xn--fsqu00a.xn--55qx5d"),
        ("a@例子。公司", "a@xn--fsqu00a.xn--55qx5d"),  # the full stop of Chinese keyboards
        ("a@почта.рф", "a@xn--80a1acny.xn--p1ai"),
    ],
)
def test_one_address(text: str, expected: str) -> None:
    assert parse_mail_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@b",
        "a@",
        "a@b\r\nBcc:x",
        "a@b\r\nBcc: x@y",
        "a@b\n",
        "a@b, c@d",
        "a@b;c@d",
        "a@b c@d",
        " a@b",
        "A <a@b>",
        "<a@b>",
        '"a b"@c',
        "a@b@c",
        "a..b@c",
        ".a@b",
        "a@b..c",
        "a@-b.c",
        "a@[127.0.0.1]",
        "用户@example.com",
        "a@b\0",
        "a@straße.example",
        "a@münchen..example",
        "a@mün chen.example",
        "a@mün\r\nchen.example",
        "a@münchen\u2028.example",
        "a@" + "ü" * 64 + ".example",
        "a@" + "ü." * 130 + "c",
        "a@b＠münchen.example",
        "a@\u061cmünchen.example",
        "a@\ud800.example",
        "l" * 65 + "@example.com",
        "a@" + "b." * 130 + "c",
    ],
)
def test_what_is_not_one_address(text: str) -> None:
    with pytest.raises(ValueError, match="must be one e-mail address"):
        parse_mail_address(text)


def test_the_complaint_says_what_can_be_done() -> None:
    with pytest.raises(ValueError, match="ASCII characters only"):
        parse_mail_address("用户@example.com")
    with pytest.raises(ValueError, match="xn--"):
        parse_mail_address("a@straße.example")


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("a@b.example", "", "a@b.example"),
        ("客服中心 <a@b.example>", "客服中心", "a@b.example"),
        ('"Shop, Ltd." <a@b.example>', "Shop, Ltd.", "a@b.example"),
        ("<a@b.example>", "", "a@b.example"),
    ],
)
def test_a_sender(text: str, name: str, address: str) -> None:
    sender = parse_sender(text)
    assert sender == (name, address)
    assert sender.domain == "b.example"


@pytest.mark.parametrize("text", ["", "Shop", "Shop <a@b>, c@d", "S\r\nBcc: x <a@b>", "S <a@b> x"])
def test_what_is_no_sender(text: str) -> None:
    with pytest.raises(ValueError, match="must be one e-mail address"):
        parse_sender(text)


@pytest.mark.parametrize("text", ["+8613800138000", "+4930123456", "+123456789012345"])
def test_e164(text: str) -> None:
    assert parse_phone(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "13800138000",
        "008613800138000",
        "+0123456789",
        "+86 138 0013 8000",
        "+86-138",
        "+123456",
        "+1234567890123456",
        "+٨٦١٣٨٠٠١٣٨٠٠٠",
        "+8613800138000\n",
        "+8613800138000,+8613900139000",
    ],
)
def test_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match="international form"):
        parse_phone(text)


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
