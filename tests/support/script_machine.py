"""The scripts of the repository on a machine whose other programs are fakes."""

from __future__ import annotations

import ast
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.server_process import ROOT


def setup_arguments() -> dict[str, Any]:
    """The arguments of ``setup()`` that are literals or made of constants of the file."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    constants: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with suppress(NameError):
                constants[node.targets[0].id] = _evaluate(node.value, constants)
    call = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "setup"
    )
    arguments = {}
    for keyword in call.keywords:
        with suppress(NameError):
            arguments[keyword.arg or ""] = _evaluate(keyword.value, constants)
    return arguments


def _evaluate(node: ast.expr, constants: dict[str, Any]) -> Any:
    return eval(ast.unparse(node), {"__builtins__": {}}, constants)


def make_machine(tmp_path: Path) -> Path:
    """A copy of the scripts in a path with a blank, and an empty folder ``bin`` for a PATH."""
    root = tmp_path / "a folder"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    for name in ("setup.py", "pyproject.toml", "wsserver/version.py"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "bin").mkdir()
    for tool in ("sh", "cat", "cksum", "dirname", "rm", "id", "mkdir", "chmod"):
        found = shutil.which(tool)
        assert found is not None
        (root / "bin" / tool).symlink_to(found)
    return root


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def start_script(root: Path, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(root / "scripts" / script)],
        cwd="/",
        env={"PATH": str(root / "bin")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_script(root: Path, script: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(root / "scripts" / script), *args],
        cwd="/",
        env={"PATH": str(root / "bin")},
        capture_output=True,
        text=True,
    )


# A fake interpreter that makes environments of itself and prints its arguments.
FAKE_PYTHON = """
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin; cat "$0" >.venv/bin/python; chmod +x .venv/bin/python ;;
    *"pip install"*) echo "installed: $*" ;;
    *"-m wsserver"*|*"-m pytest"*|*"-m scripts."*) echo "in $PWD: $*" ;;
esac
"""
