"""The checks of a change: scripts, continuous integration, pre-commit, templates, the site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.script_machine import (
    FAKE_PYTHON,
    make_machine,
    program,
    run_script,
    setup_arguments,
)

ROOT = Path(__file__).parents[1]
CHECKS = ["lint", "format", "types", "docs", "tests", "compiled", "audit"]
PASSED = dict.fromkeys(CHECKS, "passed") | {"compiled": "skipped"}
"""Results where there is no C compiler."""


def read_yaml(path: str) -> Any:
    """What a YAML file of the repository holds."""
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


# scripts/check, scripts/docs and .ci/run, on a machine whose tools only say what they were asked


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return make_machine(tmp_path)


@pytest.fixture
def tools(machine: Path) -> Path:
    """A machine with the tools of the checks; ``broken`` in the root names the one that fails."""
    shutil.copytree(ROOT / ".ci", machine / ".ci")
    for tool in ("bash", "env", "grep"):
        found = shutil.which(tool)
        assert found is not None
        (machine / "bin" / tool).symlink_to(found)
    says = 'echo "${0##*/} $*"; ! grep -qx "${0##*/} $1" broken 2>/dev/null'
    program(machine / "bin" / "chromium", "")
    python = (
        FAKE_PYTHON + 'case "$*" in "-m sphinx"*|"-m mypy"*) ' + says.replace("$1", "$2") + " ;;"
    )
    python += ' "-m scripts.advisories") [ ! -e offline ] || exit 75 ;; esac'
    program(machine / "bin" / "python3.12", python)
    program(machine / "kept" / "ruff", says)
    # It comes with the packages.
    copies = 'case "$*" in *"pip install"*) cat kept/ruff >.venv/bin/ruff; chmod +x .venv/bin/ruff'
    copies += " ;; esac\n"
    program(machine / "bin" / "python3.12", copies + python)
    return machine


def results(output: str) -> dict[str, str]:
    """Check → ``passed`` or ``FAILED``, as the last lines say."""
    return {name: word for word, name in re.findall(r"^== (\w+): (\w+), \d+ s$", output, re.M)}


def test_every_check_is_run_the_quick_ones_first(tools: Path) -> None:
    done = run_script(tools, "check")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^== (\w+)$", done.stdout, re.M) == CHECKS
    assert results(done.stdout) == PASSED
    assert "--editable .[test]" in done.stderr
    for said in (
        "ruff check",
        "ruff format --check",
        "python -m mypy",
        "python -m sphinx",
        "-m pytest",
    ):
        assert said in done.stdout


def test_those_named_are_run_alone(tools: Path) -> None:
    done = run_script(tools, "check", "types", "lint")
    assert results(done.stdout) == {"types": "passed", "lint": "passed"}


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        ("ruff check", "lint"),
        ("ruff format", "format"),
        ("python mypy", "types"),
        ("python sphinx", "docs"),
    ],
)
def test_the_check_that_fails_is_named_and_the_others_are_run(
    tools: Path, broken: str, check: str
) -> None:
    (tools / "broken").write_text(f"{broken}\n")
    done = run_script(tools, "check")
    assert done.returncode == 1
    assert results(done.stdout) == PASSED | {check: "FAILED"}


def test_a_check_that_cannot_be_made_is_named_and_fails_nothing(tools: Path) -> None:
    (tools / "offline").touch()
    done = run_script(tools, "check")
    assert done.returncode == 0
    assert results(done.stdout) == PASSED | {"audit": "skipped"}


@pytest.fixture
def compiler(tools: Path) -> Path:
    """The machine with a C compiler; ``no-build`` in the root lets the compiled build fail.

    Its type checker ends only when the build has begun.
    """
    for name in ("cc", "git"):
        program(tools / "bin" / name, "")
    program(tools / "bin" / "tar", "cat >/dev/null")
    found = shutil.which("sleep")
    assert found is not None
    (tools / "bin" / "sleep").symlink_to(found)
    fake = (tools / "bin" / "python3.12").read_text(encoding="utf-8")
    fake += """
case "$*" in
    "setup.py -q build_ext"*)
        touch ../begun
        [ ! -e ../../no-build ] || { echo "error: no such type"; exit 1; }
        ;;
    "-m mypy"*) for i in $(seq 600); do [ ! -e build/begun ] || exit 0; sleep 0.1; done; exit 1 ;;
esac"""
    (tools / "bin" / "python3.12").write_text(fake, encoding="utf-8")
    for name in ("touch", "seq"):
        program(tools / "bin" / name, f'exec {shutil.which(name)} "$@"')
    return tools


def test_the_compiled_build_is_made_during_the_checks_before_it(compiler: Path) -> None:
    done = run_script(compiler, "check", "types", "compiled")
    assert results(done.stdout) == {"types": "passed", "compiled": "passed"}
    assert f"in {compiler}/build/compiled: -m pytest" in done.stdout


def test_a_build_that_fails_is_shown_and_not_tested(compiler: Path) -> None:
    (compiler / "no-build").touch()
    done = run_script(compiler, "check", "compiled")
    assert results(done.stdout) == {"compiled": "FAILED"}
    assert "error: no such type" in done.stdout
    assert "-m pytest" not in done.stdout


def test_an_unknown_check_is_refused_before_anything_is_installed(tools: Path) -> None:
    done = run_script(tools, "check", "lint", "typos")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no check typos; there are: lint format types docs tests compiled audit" in done.stderr
    assert not (tools / ".venv").exists()


@pytest.mark.parametrize("broken", ["", "ruff check"])
def test_continuous_integration_runs_the_checks(tools: Path, broken: str) -> None:
    (tools / "broken").write_text(f"{broken}\n")
    done = subprocess.run(
        [str(tools / ".ci/run")],
        cwd="/",
        env={"PATH": str(tools / "bin")},
        capture_output=True,
        text=True,
    )
    assert list(results(done.stdout)) == CHECKS
    assert done.returncode == bool(broken)
    last = done.stdout.splitlines()[-1].strip()
    assert last == ("== failed: scripts/check" if broken else "== all is well")


def test_the_documentation_needs_only_its_own_packages(tools: Path) -> None:
    first = run_script(tools, "docs")
    assert first.returncode == 0
    assert "--editable .[docs]" in first.stderr
    assert "build/docs/index.html" in first.stderr
    for script in ("docs", "serve"):
        assert "installed: " not in run_script(tools, script).stderr
    assert "--editable .[test]" in run_script(tools, "test").stderr
    assert "installed: " not in run_script(tools, "docs").stderr


@pytest.mark.parametrize("script", ["scripts/check", "scripts/docs"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    shell = "bash" if "bash" in path.read_text(encoding="utf-8").splitlines()[0] else "sh"
    subprocess.run([shell, "-n", str(path)], check=True)


# Configuration of services and tools


def test_the_workflow_runs_the_checks_on_every_version_of_python() -> None:
    workflow = read_yaml(".github/workflows/check.yml")
    (job,) = workflow["jobs"].values()
    classifiers = " ".join(setup_arguments()["classifiers"])
    assert job["strategy"]["matrix"]["python"] == re.findall(r":: (3\.\d+)", classifiers)
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert workflow["permissions"] == {"contents": "read"}
    # YAML 1.1 reads the key `on` as true.
    assert set(workflow[True]) == {"push", "pull_request"}


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_an_issue_form_has_what_github_asks_of_one(form: str) -> None:
    read = read_yaml(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert {"name", "description", "body"} <= set(read)
    fields = [item for item in read["body"] if item["type"] != "markdown"]
    assert len({item["id"] for item in fields}) == len(fields) > 0
    for item in read["body"]:
        assert item["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert item["attributes"]["value" if item["type"] == "markdown" else "label"]


def test_the_hooks_of_pre_commit_run_the_tools_of_the_environment() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for repo in read_yaml(".pre-commit-config.yaml")["repos"]:
        assert repo["repo"] == "local"
        for hook in repo["hooks"]:
            tool = hook["entry"].split()[0]
            assert tool in ("git", ".venv/bin/ruff", "scripts/check")


def test_the_tools_have_one_file_of_configuration() -> None:
    for name in ("ruff.toml", ".ruff.toml", "setup.cfg", "mypy.ini", "pytest.ini", "tox.ini"):
        assert not (ROOT / name).exists()


# The site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small repository whose documentation the project's own ``conf.py`` makes a site of."""
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(ROOT / "docs/conf.py", docs)
    shutil.copytree(ROOT / "docs/_static", docs / "_static")
    (docs / "index.rst").write_text(
        "Top\n===\n\nFirst part\n----------\n\n* `A page <page.rst>`_\n* `Start <../README.rst>`_\n"
    )
    (docs / "page.rst").write_text(
        "Page\n====\n\n.. contents::\n\nSome words\n----------\n\n.. class:: table\n\n"
        "See `the start <../README.rst#here>`_, `far <https://a.example/x.rst>`_.\n"
    )
    (docs / "project").mkdir()
    (docs / "project/README.rst").write_text(".. include:: ../../README.rst\n")
    (tmp_path / "README.rst").write_text(
        "Readme\n======\n\nHere\n----\n\n`p <docs/page.rst#some-words>`_\n"
    )
    return tmp_path


def build_site(site: Path) -> subprocess.CompletedProcess[str]:
    call = ["-m", "sphinx", "--quiet", "--nitpicky", "--fail-on-warning", "docs", "out"]
    return subprocess.run([sys.executable, *call], cwd=site, capture_output=True, text=True)


def test_links_between_files_lead_to_pages(site: Path) -> None:
    done = build_site(site)
    assert (done.returncode, done.stderr) == (0, "")
    page = (site / "out/page.html").read_text(encoding="utf-8")
    assert 'href="project/README.html#here"' in page
    assert 'href="https://a.example/x.rst"' in page
    assert 'class="contents' not in page
    readme = (site / "out/project/README.html").read_text(encoding="utf-8")
    assert 'href="../page.html#some-words"' in readme


def test_the_sections_of_the_index_are_the_navigation(site: Path) -> None:
    assert build_site(site).returncode == 0
    page = (site / "out/page.html").read_text(encoding="utf-8")
    (tree,) = re.findall(r'<div class="sidebar-tree">(.*?)</div>', page, re.S)
    assert re.findall(r">([A-Z][\w ]+)<", tree) == ["First part", "A page", "Start"]


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("gone.rst", "no page is made of gone.rst"),
        ("page.rst#gone", "page.rst has no section gone"),
        ("../LICENSE", "no page is made of ../LICENSE"),
    ],
)
def test_a_link_that_leads_nowhere_is_an_error(site: Path, link: str, fault: str) -> None:
    with (site / "docs/page.rst").open("a") as page:
        page.write(f"\n`wrong <{link}>`_\n")
    done = build_site(site)
    assert done.returncode == 1
    assert fault in done.stderr
    assert "page.rst:13" in done.stderr


def test_a_page_that_the_index_does_not_list_is_an_error(site: Path) -> None:
    (site / "docs/lost.rst").write_text("Lost\n====\n")
    done = build_site(site)
    assert done.returncode == 1
    assert "lost.rst: WARNING: document isn't included in any toctree" in done.stderr
