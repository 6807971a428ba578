"""Static files: the console and client.js, with ETags and security headers."""

from __future__ import annotations

import pytest

from tests.support.web_server import Server


@pytest.mark.parametrize("path", ["/console", "/console/sessions/s1", "/console/chat"])
@pytest.mark.gen_test
async def test_the_console_allows_nothing_from_elsewhere(server: Server, path: str) -> None:
    page = await server.request("GET", path)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    for inline in (b"<style", b" style=", b" onclick=", b"<script>"):
        assert inline not in page.body


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/static/client.js", "text/javascript; charset=utf-8"),
        ("/static/console/app.js", "text/javascript; charset=utf-8"),
        ("/static/console/css/base.css", "text/css; charset=utf-8"),
        ("/static/console/icon.svg", "image/svg+xml"),
    ],
)
@pytest.mark.gen_test
async def test_the_files_are_served_with_their_types(
    server: Server, path: str, media_type: str
) -> None:
    answer = await server.request("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, media_type)


@pytest.mark.gen_test
async def test_a_file_that_has_not_changed_is_not_sent_again(server: Server) -> None:
    first = await server.request("GET", "/static/client.js")
    again = await server.request(
        "GET", "/static/client.js", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/x"],
)
@pytest.mark.gen_test
async def test_nothing_else_is_served(server: Server, path: str) -> None:
    assert (await server.request("GET", path)).status == 404


@pytest.mark.gen_test
async def test_a_foreign_host_gets_no_console(server: Server) -> None:
    answer = await server.request("GET", "/console", headers={"Host": "evil.example"})
    assert answer.code == "host_forbidden"


@pytest.mark.gen_test
async def test_the_console_takes_no_post(server: Server) -> None:
    answer = await server.request("POST", "/console", b"{}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
