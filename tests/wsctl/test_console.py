"""``wsctl console``: a browser, signed in by a ticket that no list of processes shows."""

from __future__ import annotations

import json
import stat
import webbrowser
from pathlib import Path

import pytest

from tests.support.fake_server import API, FakeServer, Run

TICKET = {"ticket": "t1", "expires_at": "2024-01-15T14:30:30.000Z"}


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    server.answers["POST", "/tickets"] = (200, TICKET)
    return server


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The addresses that a browser was started with."""
    addresses: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(webbrowser, "open", lambda url: not addresses.append(url))  # type: ignore[func-returns-value]
    return addresses


def test_the_browser_gets_a_page_that_only_its_user_can_read(
    ctl: Run, server: FakeServer, opened: list[str]
) -> None:
    result = ctl("console", "sessions/s1")
    (address,) = opened
    assert address.startswith("file:///")
    assert "t1" not in address
    path = Path(address.removeprefix("file://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f'location.replace("{server.url}/console/sessions/s1#ticket=t1")' in path.read_text()
    assert (result.stdout, result.stderr) == ("", f"opened {server.url}/console/sessions/s1\n")
    assert [asked.path for asked in server.asked] == [f"{API}/tickets"]


def test_without_a_browser_the_address_is_printed(
    ctl: Run, server: FakeServer, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    result = ctl("console")
    assert result.stdout == f"{server.url}/console#ticket=t1\n"
    assert "no browser was found" in result.stderr


def test_the_address_can_be_printed_instead(
    ctl: Run, server: FakeServer, opened: list[str]
) -> None:
    assert ctl("console", "--print").stdout == f"{server.url}/console#ticket=t1\n"
    shown = json.loads(ctl("console", "--print", "-o", "json").stdout)
    assert shown == {"url": f"{server.url}/console#ticket=t1"}
    assert opened == []


def test_a_page_may_have_filters(ctl: Run, server: FakeServer) -> None:
    url = ctl("console", "sessions?state=pending&holder=ai:bot", "--print").stdout
    assert "/console/sessions?state=pending&holder=ai:bot#ticket=" in url


@pytest.mark.parametrize("page", ["a b", '"', "<", "#x", "?", "?y#x", "a?b?c", "中"])
def test_a_page_that_is_none_is_2(ctl: Run, server: FakeServer, page: str) -> None:
    assert ctl("console", page).exit_code == 2
    assert server.asked == []
