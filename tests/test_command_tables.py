"""Every WebSocket command has a handler and is documented."""

from __future__ import annotations

from pathlib import Path

from tests.support.built_in import COMMANDS, EXTENSIONS
from tests.support.rst_blocks import parse
from wsserver.app import build
from wsserver.config import Settings
from wsserver.protocol.commands import CHAT_COMMANDS


def test_every_command_has_a_handler(tmp_path: Path) -> None:
    settings = Settings(
        jwt_secret="s" * 32,
        jwt_algorithm=("HS256",),
        data_dir=tmp_path,
        database=tmp_path / "wsserver.sqlite3",
    )
    chat, monitor = build(settings).manager.dispatcher.command_types
    assert {*CHAT_COMMANDS, *EXTENSIONS.commands} <= chat
    assert set(COMMANDS) <= monitor


def test_every_command_is_in_the_protocol_s_tables() -> None:
    from docutils import nodes

    tables = parse("docs/protocol.rst")[0].findall(nodes.row)
    first_cells = {next(iter(row.children)).astext() for row in tables}
    assert set(COMMANDS) <= first_cells
