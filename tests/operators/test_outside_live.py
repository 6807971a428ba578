"""What goes out of the house, from the command line: a mail server and a webhook that fail."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect

from tests.operators.conftest import Run
from tests.support.http_provider import HttpProvider
from tests.support.provider_thread import ProviderThread
from tests.support.server_process import ServerProcess
from tests.support.waiting import poll


@pytest.fixture
def providers() -> Iterator[ProviderThread[HttpProvider]]:
    providers = ProviderThread(HttpProvider)
    yield providers
    providers.close()


def document(run: Run, *args: str) -> Any:
    return json.loads(run(*args, "-o", "json").stdout)


def test_a_mail_outlives_the_mail_server_and_a_restart_and_comes_once(
    run: Run,
    providers: ProviderThread[HttpProvider],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A notification of a user who is offline; its attempts can be read afterwards."""
    providers.run(providers.mail.start())
    providers.run(providers.mail.stop())  # the port is known, and nothing listens
    env = {
        "WSSERVER_SMTP_URL": f"smtp://127.0.0.1:{providers.mail.port}",
        "WSSERVER_MAIL_FROM": "客服 <notify@shop.example>",
        "WSSERVER_DELIVERY_BACKOFF_S": "0.05",
        "WSSERVER_DELIVERY_ATTEMPTS": "1000",
    }
    monkeypatch.chdir(tmp_path)
    with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server:
        enter_address(server, "zoe", email="zoe@example.com")
        text = ("--title", "着火了", "--message", "快跑", "--type", "error")
        name = document(run, "notify", "zoe", *text)["notification_id"]
        show = ("notifications", "show", name)
        poll(lambda: document(run, *show), lambda shown: len(attempts(shown, "email")) >= 2)
        assert server.stop(signal.SIGTERM) == 0
    assert providers.sink.mails == []
    with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True):
        providers.run(providers.mail.start())
        shown = poll(lambda: document(run, *show), lambda shown: shown["states"] == {"sent": 2})
        (mail,) = providers.sink.mails
        assert (mail["Subject"], mail["To"]) == ("着火了", "zoe@example.com")
        *failures, last = attempts(shown, "email")
        assert {each["outcome"] for each in failures} <= {"retry", "interrupted"}
        assert last["outcome"] == "sent"
        story = run(*show).stdout
        assert f"{name}  error: 着火了" in story
        assert "email to zoe, try 1: retry  Error connecting to 127.0.0.1" in story
        assert f"email to zoe, try {len(failures) + 1}: sent  2.0.0 queued as 4711" in story
        assert "websocket to zoe, try 1: sent  in the inbox at offset 1" in story
    assert len(providers.sink.mails) == 1


def test_what_a_webhook_did_not_take(
    run: Run, providers: ProviderThread[HttpProvider], tmp_path: Path
) -> None:
    """Given up, seen, and tried again by hand once the receiver is well."""
    providers.provider.answer_with(410, b"gone")
    env = {
        "WSSERVER_WEBHOOK_URLS": providers.provider.url("/s3cret#user_connected"),
        "WSSERVER_WEBHOOK_SECRET": "hook-secret",
    }
    with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server:
        address = ("--url", server.url, "--token", server.token())
        assert "no undelivered events" in run(*address, "webhooks", "list").stderr
        for user in ("ann", "bob"):
            with connect(server.websocket("/ws/chat", server.token(user, "user")), proxy=None):
                pass
        failed = ("webhooks", "list", "--state", "failed")
        listed = poll(lambda: document(run, *address, *failed), lambda found: len(found) == 2)
        name = listed[1]["delivery_id"]
        shown = run(*address, "webhooks", "show", name).stdout
        host = f"127.0.0.1:{providers.provider.port}"
        assert f"{name}  user_connected to {host} (webhook 1)" in shown
        assert "tries: 1; the latest: 410: gone" in shown
        assert '"user_id": "ann"' in shown
        assert "s3cret" not in shown + run(*address, *failed).stdout
        providers.provider.answer_with(200)
        assert run(*address, "webhooks", "retry", name).stdout == "1 event retried\n"
        poll(lambda: document(run, *address, *failed), lambda found: len(found) == 1)
        assert "1 event retried" in run(*address, "webhooks", "retry", "--all").stdout
        poll(lambda: document(run, *address, "webhooks", "list"), lambda found: found == [])
        assert len(providers.provider.requests) == 4
        assert run(*address, "webhooks", "retry").exit_code == 2
        assert run(*address, "webhooks", "show", "hook_none").exit_code == 1


def enter_address(server: ServerProcess, user_id: str, **contact: str) -> None:
    """As a backend does it, over the API."""
    request = Request(
        f"{server.url}/api/v1/websocket/users/{user_id}/contacts",
        json.dumps(contact).encode(),
        {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json"},
        method="PUT",
    )
    with urlopen(request) as answer:
        assert answer.status == 200


def attempts(shown: Any, channel: str) -> list[Any]:
    """Those of the one delivery by a channel."""
    (found,) = [each["attempts"] for each in shown["deliveries"] if each["channel"] == channel]
    return list(found)
