"""The npm package: its own tests, its types, and a fresh Vite project that uses it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import expect

from scripts.served_folder import served
from tests.support.browser_pages import NEEDS_CHROMIUM, browser
from tests.support.rst_blocks import block
from tests.support.vue_pages import NEEDS_NPM, PACKAGE, copy_package, install
from tests.support.web_server import StartServer, token
from wsserver import __version__

ROOT = Path(__file__).parents[2]
LARGEST = {"client": 12 * 1024, "vue": 15 * 1024, "style": 5 * 1024}
"""Bytes as a bundler makes them, gzipped: what a page loads first, parts for Vue, their style."""
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")


def run(folder: Path, *command: str) -> str:
    """Run a command; its output if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return done.stdout


def readme(language: str) -> str:
    """The code in the package's README in this language."""
    text = (PACKAGE / "README.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def package(tmp_path: Path, node_modules: Path) -> Path:
    """A copy of the package with what its tests need."""
    return copy_package(tmp_path, node_modules)


@NEEDS_NPM
def test_its_own_tests_pass(package: Path) -> None:
    run(package, "npm", "test")


@NEEDS_NPM
@pytest.mark.long
def test_the_types_are_those_of_the_code_and_say_what_an_application_may_write(
    package: Path,
) -> None:
    """Those of the documentation, too: each run of the compiler takes many seconds."""
    for name in ("typed.ts", "setup.ts"):
        example = block("docs/browser.rst", name).text
        (package / "tests" / "types" / f"documented_{name}").write_text(example)
    (package / "tests" / "types" / "documented_readme.ts").write_text(readme("ts"))
    run(package, "npm", "run", "types")
    # It must find what is not there.
    types = package / "src" / "index.d.ts"
    types.write_text(types.read_text().replace("readonly unsent", "readonly unsaid"))
    command = ["npx", "--no-install", "tsc", "-p", "tests/types", "--skipLibCheck"]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True)
    assert "same.ts" in done.stdout


@NEEDS_NPM
def test_it_is_small_and_loads_the_modules_of_tabs_and_push_only_when_it_needs_them(
    package: Path,
) -> None:
    sizes = json.loads(run(package, "node", "tests/size.js"))
    assert {name: sizes[name] for name in LARGEST if sizes[name] > LARGEST[name]} == {}
    assert sizes["later"] > 0


def test_the_package_has_the_version_and_the_license_of_the_server() -> None:
    described = json.loads((PACKAGE / "package.json").read_text())
    assert described["version"] == __version__
    assert f'VERSION = "{__version__}"' in (PACKAGE / "src" / "recorder.js").read_text()
    assert "dependencies" not in described
    entries = [name for name in described["exports"] if not name.endswith((".css", ".json"))]
    text = (PACKAGE / "README.md").read_text()
    assert [name for name in entries if f"`@wsserver/client{name[1:]}`" not in text] == []
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    for conditions in described["exports"].values():
        for path in [conditions] if isinstance(conditions, str) else conditions.values():
            assert (PACKAGE / path).is_file(), path


@needs_node
def test_the_modules_load_without_a_browser_and_without_a_websocket() -> None:
    script = """
        delete globalThis.WebSocket;
        const { WsClient } = await import("./src/index.js");
        await import("./testing/index.js");
        const client = new WsClient({ url: "http://127.0.0.1:1", token: "t" });
        const failed = await client.connect().catch((error) => error);
        console.log(JSON.stringify([failed.code, failed.message]));
    """
    code, message = json.loads(run(PACKAGE, "node", "--input-type=module", "-e", script))
    assert code == "no_websocket"
    assert "pass a class as the option WebSocket, or use Node 22" in message


@NEEDS_NPM
def test_the_examples_of_the_documentation_do_what_they_say(package: Path, tmp_path: Path) -> None:
    project = tmp_path / "a project"
    project.mkdir()
    (project / "package.json").write_text('{"type": "module"}')
    script = block("docs/browser.rst", "npm-install").text.replace("$ ", "")
    script = script.replace("npm install", "npm install --no-audit --no-fund --offline")
    environ = {**os.environ, "PROJECT": str(project)}
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=environ, check=True, timeout=60)
    (project / "chat.test.js").write_text(block("docs/browser.rst", "chat.test.js").text)
    (project / "readme.test.js").write_text(readme("js"))
    run(project, "node", "--test", "chat.test.js", "readme.test.js")


def test_the_documentation_has_every_option_and_call() -> None:
    types = (PACKAGE / "src" / "index.d.ts").read_text()
    options = re.search(r"interface WsClientOptions {\n(.*?)\n}", types, re.DOTALL)
    assert options is not None
    page = (ROOT / "docs" / "browser.rst").read_text()
    for name in re.findall(r"^  (\w+)\?:", options[1], re.MULTILINE):
        assert f"``{name}``" in page, name
    fake = (PACKAGE / "testing" / "index.d.ts").read_text().partition("class FakeServer")[2]
    for name in re.findall(r"^  (?:readonly )?(\w+)[(<:]", fake, re.MULTILINE):
        assert name == "constructor" or re.search(rf"``{name}\b", page), name


@NEEDS_NPM
@NEEDS_CHROMIUM[0]
@NEEDS_CHROMIUM[1]
@pytest.mark.long
@pytest.mark.gen_test(timeout=300)
async def test_a_fresh_vite_project_builds_with_it_and_talks(
    start_server: StartServer, package: Path, tmp_path: Path
) -> None:
    (packed,) = json.loads(run(package, "npm", "pack", "--json", "--pack-destination", "../.."))
    names = {file["path"].partition("/")[0] for file in packed["files"]}
    assert names == {"LICENSE", "README.md", "package.json", "src", "testing", "vue"}
    project = shutil.copytree(package / "tests" / "project", tmp_path / "project")
    (project / "src" / "Chat.vue").write_text(block("docs/browser.rst", "chat.vue").text)
    install(project, "install", str(tmp_path / packed["filename"]))
    run(project, "npm", "run", "build")
    render = "import('./ssr/render.js').then(({ render }) => render()).then(console.log)"
    assert '<p id="state">idle</p>' in run(project, "node", "-e", render)
    with served(project / "dist") as url:
        server = await start_server(allowed_origins=[url])
        bearer = token("u1", "user", sessions=["s1"])
        async with browser() as chromium:
            page = await chromium.new_page()
            await page.goto(f"{url}/#url=http://127.0.0.1:{server.port}&token={bearer}")
            await expect(page.locator("li")).to_have_text("Hello from Vite")
            await expect(page.locator("#state")).to_have_text("open")
            await expect(page.locator(".ws-bubble")).to_contain_text("Hello from Vite (u1)")
