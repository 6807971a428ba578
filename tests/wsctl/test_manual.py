"""The manual page that is committed is the one that the commands make, and roff takes it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from scripts.manual_page import PAGE, main, page
from tests.support.wsctl_commands import ALL, resolve

SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS",
            "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]  # fmt: skip


def test_the_committed_page_is_what_the_commands_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGE.read_text("ascii") == page(), "run scripts/manual"
    assert main(["--check"]) == 0


def test_an_outdated_manual_page_is_reported(
    tmp_path: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "wsctl.1"  # type: ignore[operator]
    monkeypatch.setattr("scripts.manual_page.PAGE", path)
    assert main(["--check"]) == 1
    assert "run scripts/manual" in capsys.readouterr().err
    assert (main([]), main(["--check"]), main(["--bogus"])) == (0, 0, 2)


def test_it_has_the_usual_sections_and_every_command_with_its_options() -> None:
    text = page()
    assert re.findall(r"^\.SH (.+)$", text, re.MULTILINE) == SECTIONS
    for path in ALL:
        name = f"wsctl {' '.join(path)}".replace("-", "\\-")
        section = text.partition(f"\n.SS {name}\n")[2].partition("\n.SS ")[0]
        assert section, name
        for param in resolve(path).params:
            if param.opts[0].startswith("--") and param.expose_value:
                assert param.opts[0].replace("-", "\\-") in section, (name, param.opts)


@pytest.mark.parametrize(
    "formatter",
    [("groff", "-man", "-ww", "-Tutf8"), ("mandoc", "-Tlint", "-Wwarning")],
    ids=["groff", "mandoc"],
)
def test_it_is_formatted_without_a_warning(formatter: tuple[str, ...]) -> None:
    if shutil.which(formatter[0]) is None:
        pytest.skip(f"no {formatter[0]} on PATH")
    done = subprocess.run([*formatter, str(PAGE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if formatter[0] == "groff":
        assert "wsctl members" in re.sub("\x1b\\[[0-9]*m|.\b", "", done.stdout)
