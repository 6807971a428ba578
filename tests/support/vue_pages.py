"""Pages with the browser client's Vue parts, served from the package as it is, without a build."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from scripts.served_folder import served
from tests.support.waiting import PATIENCE_S

PACKAGE = Path(__file__).parents[2] / "clients" / "js"
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "network")
NEEDS_NPM = pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on PATH")
_IMPORTS = {
    "vue": "/node_modules/vue/dist/vue.runtime.esm-browser.prod.js",
    "@wsserver/client": "/src/index.js",
    "@wsserver/client/calls": "/src/rtc.js",
    "@wsserver/client/vue": "/vue/index.js",
    "@wsserver/client/vue/calls": "/vue/calls.js",
    "@wsserver/client/vue/files": "/vue/files.js",
    "@wsserver/client/vue/preferences": "/vue/preferences.js",
    "@wsserver/client/testing": "/testing/index.js",
}
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Test</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; connect-src *;
  style-src 'self'; script-src 'self' 'nonce-test'; img-src data: http://127.0.0.1:*">
<link rel="icon" href="data:,">
<script type="importmap" nonce="test">{json.dumps({"imports": _IMPORTS})}</script>
<link rel="stylesheet" href="/vue/style.css">
<link rel="stylesheet" href="/vue/calls.css">
<link rel="stylesheet" href="/vue/files.css">
<link rel="stylesheet" href="/vue/preferences.css">
<link rel="stylesheet" href="/page.css">
</head>
<body><main id="app"></main></body>
</html>
"""
_STYLE = "html, body, main { height: 100%; margin: 0; background: var(--ws-background); }"
_NOTE_FAULTS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


def install(folder: Path, *arguments: str) -> None:
    """Install packages with npm, or skip the test where there is no npm or no network."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on PATH")
    command = ["npm", *arguments, "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    if done.returncode != 0 and any(word in done.stderr for word in NO_NETWORK):
        pytest.skip("no npm registry can be reached")
    assert done.returncode == 0, done.stderr


def installed_packages(factory: pytest.TempPathFactory) -> Path:
    """The folder ``node_modules`` of the package, installed once in a run, never changed."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    installed = shared / "node_modules"
    with (shared / "node_modules.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists():
            folder = factory.mktemp("packages")
            for name in ("package.json", "package-lock.json"):
                shutil.copy(PACKAGE / name, folder)
            install(folder, "ci")
            (folder / "node_modules").rename(installed)
    return installed


def copy_package(folder: Path, node_modules: Path) -> Path:
    """A copy of the package, with what is installed for its tests."""
    ignored = shutil.ignore_patterns("node_modules", "build", "var", "*.tgz")
    package: Path = shutil.copytree(PACKAGE, folder / "clients" / "js", ignore=ignored)
    (package / "node_modules").symlink_to(node_modules)
    return package


@contextlib.contextmanager
def vue_server(folder: Path, node_modules: Path, style: str = "") -> Iterator[str]:
    """The address of a page for components, with the package's modules by their names."""
    package = copy_package(folder, node_modules)
    (package / "index.html").write_text(_PAGE)
    (package / "page.css").write_text(_STYLE + style)
    with served(package) as url:
        yield url


@contextlib.asynccontextmanager
async def vue_page(chromium: Browser, url: str, script: str, **options: Any) -> AsyncIterator[Page]:
    """A page that has run a script, the body of an async function; nothing may go wrong on it."""
    async with await chromium.new_context(**{"locale": "en-US", **options}) as context:
        page = await context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: (
                faults.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.set_default_timeout(PATIENCE_S * 1000)
        await page.add_init_script(_NOTE_FAULTS)
        await page.goto(url)
        await page.evaluate(f"async () => {{ {script} }}")
        try:
            yield page
        except Exception as error:
            if faults:
                raise AssertionError(faults) from error
            raise
        assert not faults, faults
        assert await page.evaluate("violations") == []


async def accessibility_faults(page: Page, axe: str | None = None) -> list[str]:
    """What axe finds on a page: rule and element; ``axe``: its text, where it is not served."""
    if axe is None:
        await page.add_script_tag(url="/node_modules/axe-core/axe.min.js")
    else:
        await page.evaluate(axe)
    found: list[str] = await page.evaluate(
        """async () => {
            const options = { resultTypes: ["violations"], preload: false };
            return (await axe.run(options)).violations.flatMap(({ id, nodes }) =>
                nodes.map(({ target, failureSummary }) => `${id} ${target} ${failureSummary}`));
        }"""
    )
    return found
