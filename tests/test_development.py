"""Development mode: the printed lines and the files for ``wsctl`` work."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import stat
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect

from tests.support.server_process import ServerProcess, environment, shell
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE_S
from wsserver import Server, Settings, development
from wsserver.config import ConfigFaults
from wsserver.development import SERVER_FILE, TOKEN_FILE, _command, _write_private


def hint(server: ServerProcess, name: str) -> str:
    """The line printed for ``console``, ``wsctl`` or ``websocket``."""
    return server.wait_for(rf"^  {name} +(.+)$")[1]


@pytest.mark.parametrize(
    ("host", "data_dir"),
    [("127.0.0.1", "var"), ("::1", "a folder; it's ours"), ("localhost", "$HOME/`x`")],
)
def test_the_lines_can_be_pasted(tmp_path: Path, host: str, data_dir: str) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    env = {"WSSERVER_DATA_DIR": data_dir}
    with ServerProcess(folder, "--dev", "--host", host, env=env, is_preloaded=True) as server:
        stats = shell(hint(server, "wsctl"), folder)
        assert (stats.returncode, stats.stderr) == (0, "")
        assert "total connections" in stats.stdout
        said = shell(hint(server, "websocket"), folder)
        assert '"connection_established"' in said.stdout
        assert '"user_id":"dev-user"' in said.stdout
        assert server.stop() == 0


STRICT = {
    "WSSERVER_JWT_ALGORITHM": "HS512",
    "WSSERVER_JWT_ISSUER": "https://login.example.com",
    "WSSERVER_JWT_AUDIENCE": "chat",
    "WSSERVER_ALLOW_QUERY_TOKEN": "false",
}
WSCTL_STATS = shlex.join([sys.executable, "-m", "wsctl", "stats"])


def test_the_lines_work_whatever_is_asked_of_tokens(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", env=STRICT, is_preloaded=True) as server:
        for line in (hint(server, "wsctl"), WSCTL_STATS):
            stats = shell(line, tmp_path)
            assert (stats.returncode, stats.stderr) == (0, "")
        said = shell(hint(server, "websocket"), tmp_path)
        assert '"connection_established"' in said.stdout
        assert server.stop() == 0


def test_no_token_is_printed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        address = shlex.split(hint(server, "websocket"))[-1]
        token = (tmp_path / "var" / TOKEN_FILE).read_text().strip()
        assert server.stop() == 0
    assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/ws/chat\?ticket=[\w-]{40,}", address)
    printed = "\n".join(server.lines)
    assert not any(part in printed for part in token.split("."))


def test_a_secret_of_an_earlier_run_does_not_mislead_wsctl(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/dev-jwt-secret").write_text("of an earlier run, with other settings")
    with ServerProcess(
        tmp_path, "--dev", env={"WSSERVER_JWT_SECRET": SECRET}, is_preloaded=True
    ) as server:
        hint(server, "websocket")
        stats = shell(WSCTL_STATS, tmp_path)
        assert (stats.returncode, stats.stderr) == (0, "")
        assert server.stop() == 0


@pytest.mark.gen_test
async def test_the_token_is_renewed_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(development, "RENEWAL_S", 0.001)
    token_file = tmp_path / TOKEN_FILE
    async with Server(Settings(jwt_secret=SECRET, data_dir=tmp_path, port=0)) as server:
        with development.first_steps(server):
            first = token_file.read_text()
            while (second := token_file.read_text()) == first:
                await asyncio.sleep(0)
            headers = {"Authorization": f"Bearer {second.strip()}"}
            stats = Request(f"{server.url}/api/v1/websocket/stats", headers=headers)
            with await asyncio.to_thread(urlopen, stats) as answer:
                assert answer.status == 200


@pytest.mark.gen_test
async def test_the_token_of_a_later_server_is_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(development, "RENEWAL_S", 0.001)
    are_ours = iter([False, False, True])
    written = asyncio.Event()

    def write() -> None:
        assert next(are_ours, None) is None  # both refusals came first
        written.set()

    renewing = asyncio.ensure_future(development._renew(write, lambda: next(are_ours, False)))
    await asyncio.wait_for(written.wait(), PATIENCE_S)
    renewing.cancel()


def test_the_console_s_ticket_lets_one_administrator_in(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        found = re.fullmatch(r"(http://\S+)/console#ticket=([\w-]+)", hint(server, "console"))
        assert found is not None
        assert found[1] == server.url
        address = f"{server.url.replace('http', 'ws')}/ws/admin/monitor?ticket={found[2]}"
        with connect(address) as client:
            assert json.loads(client.recv(timeout=PATIENCE_S))["user_id"] == "dev-admin"
        with pytest.raises(Exception, match="401"), connect(address):
            pass


def test_files_are_left_for_wsctl_and_taken_away(tmp_path: Path) -> None:
    server_file, token_file = tmp_path / "var" / SERVER_FILE, tmp_path / "var" / TOKEN_FILE
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        hint(server, "websocket")
        assert json.loads(server_file.read_text())["url"] == server.url
        for path in (server_file, token_file):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        token = token_file.read_text().strip()
        request = Request(
            f"{server.url}/api/v1/websocket/stats", headers={"Authorization": f"Bearer {token}"}
        )
        with urlopen(request) as answer:  # loopback
            assert answer.status == 200
        assert server.stop() == 0
    assert sorted(path.name for path in (tmp_path / "var").iterdir()) == [
        "dev-jwt-secret", "files", "wsserver.sqlite3",
    ]  # fmt: skip


def test_a_server_leaves_the_files_of_a_later_one_alone(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, "--dev", "--database", "1.db", is_preloaded=True) as first,
        ServerProcess(tmp_path, "--dev", "--database", "2.db", is_preloaded=True) as second,
    ):
        hint(second, "websocket")
        assert first.stop() == 0
        assert json.loads((tmp_path / "var" / SERVER_FILE).read_text())["url"] == second.url
        assert (tmp_path / "var" / TOKEN_FILE).exists()
        assert second.stop() == 0
    left = sorted(path.name for path in (tmp_path / "var").iterdir())
    assert left == ["dev-jwt-secret", "files"]


def test_the_secret_stays_from_one_start_to_the_next(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        token = server.token("u1", "user")
        assert server.stop() == 0
    with (
        ServerProcess(tmp_path, "--dev", is_preloaded=True) as server,
        connect(server.websocket("/ws/chat", token)) as client,
    ):
        assert json.loads(client.recv(timeout=PATIENCE_S))["user_id"] == "u1"


def test_a_secret_of_one_s_own_signs_the_tokens(tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path, "--dev", env={"WSSERVER_JWT_SECRET": SECRET}, is_preloaded=True
    ) as server:
        stats = shell(hint(server, "wsctl"), tmp_path)
        assert (stats.returncode, stats.stderr) == (0, "")
        assert server.stop() == 0
    assert not (tmp_path / "var/dev-jwt-secret").exists()


def test_public_keys_make_no_tokens(tmp_path: Path) -> None:
    env = {"WSSERVER_JWKS_URL": "http://127.0.0.1:1/keys.json"}
    with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server:
        assert server.stop() == 0
    assert not any("try" in line or "ticket" in line for line in server.lines)
    left = sorted(path.name for path in (tmp_path / "var").iterdir())
    assert left == ["files", "wsserver.sqlite3"]


def test_a_command_that_is_not_installed_is_called_as_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "venv/bin/python"
    monkeypatch.setattr(sys, "executable", str(python))
    assert _command("wsctl") == ["venv/bin/python", "-m", "wsctl"]
    python.parent.mkdir(parents=True)
    python.with_name("wsctl").touch()
    assert _command("wsctl") == ["venv/bin/wsctl"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert _command("wsctl") == [str(python.with_name("wsctl"))]


def test_what_cannot_be_written_is_a_fault_of_data_dir(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigFaults, match=r"data_dir \(start\): .*cannot be written"):
        _write_private(tmp_path / "file" / SERVER_FILE, "{}")


def test_no_settings_of_this_machine_reach_the_tests() -> None:
    assert not [name for name in environment() if name.startswith(("WSSERVER_", "WSCTL_"))]
