"""Outcomes of HTTP answers."""

from __future__ import annotations

import pytest

from tests.support.channel_jobs import CANARY, REDACT
from wsserver.notifications.http import HttpAnswer, excerpt, judge, retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, "sent"),
        (204, "sent"),
        (301, "failed"),
        (307, "failed"),
        (400, "failed"),
        (401, "failed"),
        (404, "failed"),
        (408, "retry"),
        (425, "retry"),
        (429, "retry"),
        (500, "retry"),
        (503, "retry"),
    ],
)
def test_statuses(status: int, result: str) -> None:
    outcome = judge(HttpAnswer(status, {}, b"so\r\n  it  is"), REDACT, NOW)
    assert outcome.result == result
    assert outcome.retry_after_s is None
    assert outcome.detail.startswith(str(status))


def test_the_detail_is_the_provider_s_word() -> None:
    assert judge(HttpAnswer(400, {}, b"so\r\n  it  is"), REDACT, NOW).detail == "400: so it is"
    assert judge(HttpAnswer(400, {}, b""), REDACT, NOW).detail == "400"
    assert judge(HttpAnswer(302, {"location": CANARY}, b""), REDACT, NOW).detail == (
        "302: redirects are not followed"
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("86400", 3600),
        ("9" * 18, 3600),
        ("-5", None),
        ("1.5", None),
        ("١٢", None),
        ("soon", None),
        ("", None),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 120),
        ("Tue, 14 Nov 2023 22:15:20", 120),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
        ("Tue, 14 Nov 2099 22:00:00 GMT", 3600),
        ("Tue, 99 Nov 2023 22:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


def test_retry_after_counts_where_trying_again_helps() -> None:
    headers = {"retry-after": "30"}
    assert judge(HttpAnswer(429, headers, b""), REDACT, NOW).retry_after_s == 30
    assert judge(HttpAnswer(503, headers, b""), REDACT, NOW).retry_after_s == 30
    assert judge(HttpAnswer(400, headers, b""), REDACT, NOW).retry_after_s is None


def test_an_excerpt_is_one_short_line_without_secrets() -> None:
    assert excerpt(f"a\r\n\x1b[2J {CANARY}", REDACT) == "a \\x1b[2J [redacted]"
    assert len(excerpt("x" * 1000, REDACT)) == 200
