"""docs/postgresql.rst: its commands and settings do what it says."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from scripts.backends.postgres import PostgresServer
from tests.support.rst_blocks import block
from tests.support.server_process import ServerProcess, refused
from tests.support.tokens import SECRET
from wsserver.config import load_settings

DOCUMENT = "docs/postgresql.rst"


def sql(name: str) -> list[str]:
    return [each.strip() for each in text(name).split(";") if each.strip()]


def text(name: str) -> str:
    found: str = block(DOCUMENT, name).text
    return found


def test_the_settings_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "database-password").write_text("x")
    for name in ("settings", "tls-settings"):
        given = text(name).replace("/etc/wsserver", str(tmp_path))
        tomllib.loads(given)
        file = tmp_path / "c.toml"
        file.write_text(f'{given}\ndata_dir = "{tmp_path}"\njwt_secret = "{SECRET}"\n')
        assert load_settings(file, {}, {}, False).database_url is not None


def test_set_up_copy_and_backup_work_as_they_are_written(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    for statement in sql("create-database"):
        postgres.execute(statement)
    password = tmp_path / "database-password"
    password.write_text("choose-a-password\n")
    (tmp_path / "wsserver.toml").write_text(
        f'data_dir = "{tmp_path}"\njwt_secret = "{SECRET}"\nport = 0\n'
    )
    with ServerProcess(tmp_path, "--config", "wsserver.toml", is_preloaded=True) as server:
        assert server.stop() == 0
    place = f"127.0.0.1:{postgres.port}"

    def here(line: str) -> list[str]:
        line = line.replace("db.example", place).replace("/etc/wsserver", str(tmp_path))
        return line.split()

    (copy,) = block(DOCUMENT, "copy-command").commands
    done = refused(*here(copy)[1:], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    env = {
        "WSSERVER_DATABASE_URL": f"postgresql://wsserver@{place}/wsserver",
        "WSSERVER_DATABASE_PASSWORD_FILE": str(password),
    }
    with ServerProcess(tmp_path, "--config", "wsserver.toml", env=env, is_preloaded=True) as server:
        assert server.stop() == 0
    orphan = tmp_path / "var/files/01/file_0123456701"
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    os.utime(orphan, (1e9, 1e9))
    checked = refused("db", "check", folder=tmp_path, **env)
    assert (checked.returncode, orphan.name in checked.stdout) == (0, True), checked.stderr
    (backup,) = block(DOCUMENT, "backup-command").commands
    said = refused("db", "backup", "wsserver.dump", folder=tmp_path, **env).stderr
    assert " ".join(here(backup)) in said
    read_epochs = "SELECT key, value FROM meta WHERE key IN ('epoch', 'export_epoch')"
    before = postgres.execute(read_epochs, "wsserver")
    for statement in sql("renew-epochs"):
        postgres.execute(statement, "wsserver")
    after = postgres.execute(read_epochs, "wsserver")
    assert all(re.fullmatch("epoch_[0-9a-f]{16}", value) for _, value in after)
    assert not set(before) & set(after)
    for statement in ("DROP DATABASE wsserver WITH (FORCE)", "DROP ROLE wsserver"):
        postgres.execute(statement)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("x")
    file.chmod(0)
    env = {
        "WSSERVER_JWT_SECRET": SECRET,
        "WSSERVER_DATABASE_URL": "postgresql://a@127.0.0.1:1/b",
        "WSSERVER_DATABASE_PASSWORD_FILE": str(file),
    }
    ended = refused("serve", folder=tmp_path, **env)
    assert ended.returncode == 78
    assert "database_password_file" in ended.stderr
