"""The container image: its steps run without a container, and what they make serves."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.nginx import free_port
from tests.support.rst_blocks import ROOT
from tests.support.server_process import environment
from tests.support.waiting import PATIENCE_S, poll

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
HEALTHCHECK = ROOT / "deploy" / "healthcheck.py"


def instructions() -> list[tuple[str, str]]:
    """The instructions, with continued lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[last:]


def environment_of_the_image() -> dict[str, str]:
    pairs = [pair for name, rest in final_stage() if name == "ENV" for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def test_it_does_not_run_as_root_and_writes_only_its_data() -> None:
    stage = dict(final_stage())
    assert stage["USER"] == "10001"
    assert "--uid 10001" in stage["RUN"]
    assert stage["VOLUME"] == stage["WORKDIR"] == environment_of_the_image()["WSSERVER_DATA_DIR"]
    assert stage["ENTRYPOINT"] == '["wsserver"]'
    assert stage["EXPOSE"] == environment_of_the_image()["WSSERVER_PORT"]
    order = [name for name, _ in final_stage()]
    assert order.index("USER") > order.index("RUN")


def test_both_stages_have_the_same_python() -> None:
    bases = {rest.split()[0] for name, rest in instructions() if name == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[1-9]-slim-\w+", bases.pop())


def test_all_that_is_copied_is_there() -> None:
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            source = rest.split()[0]
            assert (ROOT / source).exists(), source


def copy_context(folder: Path) -> Path:
    """What ``docker build`` would send: the tracked files that ``.dockerignore`` admits."""
    admitted = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if any(fnmatch.fnmatch(name, each) or name.startswith(f"{each}/") for each in admitted):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return folder


@pytest.mark.long
@pytest.mark.slow
def test_its_steps_make_a_server_that_is_healthy(tmp_path: Path) -> None:
    """The commands of the image in a folder; packages of others are those of the tests."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    context = copy_context(tmp_path / "source")
    (build,) = [rest for name, rest in instructions() if name == "RUN" and "venv" in rest]
    assert "pip --python /opt/wsserver/bin/python install --no-cache-dir '.[" in build
    home = tmp_path / "opt"
    script = (
        build.replace("/opt/wsserver", str(home))
        .replace("python -m venv", f"{sys.executable} -m venv")
        .replace("pip --python", f"{sys.executable} -m pip --python")
        .replace("--no-cache-dir", "--no-cache-dir --no-deps --no-index --no-build-isolation -q")
    )
    packages = {"PYTHONPATH": os.pathsep.join(site.getsitepackages())}
    subprocess.run(
        ["sh", "-ec", script],
        cwd=context,
        env={**os.environ, **packages},
        check=True,
        timeout=4 * PATIENCE_S,
    )
    static = list(home.glob("lib/python*/site-packages/wsserver/static/client/*.js"))
    assert any(path.name == "index.js" for path in static)
    image = environment_of_the_image()
    port = str(free_port())
    env = environment(**image) | {
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        **packages,
        "WSSERVER_DATA_DIR": str(tmp_path / "data"),
        "WSSERVER_DATABASE": str(tmp_path / "data" / "wsserver.sqlite3"),
        "WSSERVER_HOST": "127.0.0.1",
        "WSSERVER_PORT": port,
        "WSSERVER_JWT_SECRET": "0123456789abcdef0123456789abcdef",
    }
    (tmp_path / "data").mkdir()

    def check() -> int:
        command = [str(home / "bin" / "python"), str(HEALTHCHECK)]
        return subprocess.run(command, env=env, capture_output=True).returncode

    assert check() == 1  # nobody answers
    server = subprocess.Popen(
        [str(home / "bin" / "wsserver"), "serve"], env=env, cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        poll(check, lambda status: status == 0)
        server.terminate()
        assert server.wait(PATIENCE_S) == 0
    finally:
        server.kill()
        server.communicate()
