"""``wsctl console``: open the server's console in a browser, signed in."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import click

from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import BadUsage, Failed
from wsctl.output.writer import say

_PAGE = re.compile(r"[A-Za-z0-9._:@|+~/-]*(\?[A-Za-z0-9._:@|+~/=&%-]+)?", re.ASCII)
_REDIRECT = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<title>wsserver console</title>
<script>location.replace({script})</script>
<p><a href="{link}">Open the console</a></p>
"""


@command()
@click.argument("page", required=False, default="", metavar="[PAGE]")
@click.option("--print", "is_printed", is_flag=True, help="Print the address; open no browser.")
@pass_environment
def console(environment: Environment, page: str, is_printed: bool) -> None:
    """Open the console in the browser, signed in with the token.

    The browser gets a one-time ticket, valid for 30 seconds, and a cookie for it: the token appears
    in no address, no browser history and no list of processes. PAGE is a page of the console, such
    as sessions or sessions/s1, also with filters.

    Examples:
    wsctl console
    wsctl console sessions/s1
    wsctl console "sessions?state=pending"
    wsctl console --print
    """
    from wsctl.http.client import member

    if not _PAGE.fullmatch(page):
        raise BadUsage("PAGE is part of an address, such as sessions/s1")
    answer = environment.client.post("/tickets", {})
    place = "/".join(filter(None, (environment.target.url, "console", page.strip("/"))))
    address = f"{place}#ticket={member(answer, 'ticket', str)}"
    if is_printed:
        environment.output.document({"url": address}, address)
        return
    if not _open(_redirect_file(address)):
        say("no browser was found; open this address within 30 seconds:")
        environment.output.document({"url": address}, address)
        return
    say(f"opened {place}")


def _redirect_file(address: str) -> Path:
    """A page, readable by this user only, that leads to an address.

    Other users of the machine see the arguments of a browser's process.
    """
    from platformdirs import user_cache_path

    from wsctl.atomic_file import replace_file

    path = user_cache_path("wsctl") / "console.html"
    script = json.dumps(address).replace("<", "\\u003c")
    text = _REDIRECT.format(script=script, link=html.escape(address))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replace_file(path, mode=0o600) as file:
            file.write(text)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}; use --print") from None
    return path


def _open(path: Path) -> bool:
    import webbrowser

    try:
        return webbrowser.open(path.as_uri())
    except webbrowser.Error:
        return False
