"""nginx, with a configuration under test."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S

NEEDS_NGINX = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        return int(chosen.getsockname()[1])


@contextmanager
def run_nginx(folder: Path, text: str, port: int) -> Iterator[str]:
    """nginx with ``text`` inside of ``http``; it listens on ``port``. Gives its address."""
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\n{places}{text}\n}}\n"
    )
    tested = subprocess.run(
        ["nginx", "-t", "-p", folder, "-c", conf], capture_output=True, text=True
    )
    assert tested.returncode == 0, tested.stderr
    with subprocess.Popen(["nginx", "-p", folder, "-c", conf], stderr=subprocess.PIPE) as process:
        try:
            _until_it_listens(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            continue
        return
    raise AssertionError("nginx has ended")
