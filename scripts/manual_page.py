"""Generator of ``docs/wsctl.1``, the manual page of wsctl (roff, man(7)), from its commands.

The page has the version of the package and no date, so that the same commands give the same page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from wsctl.cli.click_base import LazyGroup
from wsctl.cli.global_options import GlobalOption
from wsctl.cli.root import wsctl
from wsctl.errors import ExitStatus

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "wsctl.1"

EXITS = {
    ExitStatus.DONE: "done",
    ExitStatus.FAILED: "failed: the server refused, a file cannot be written, no answer to a ping",
    ExitStatus.USAGE: "usage: a flag, a time, JSON in an argument, a token file or secret",
    ExitStatus.UNREACHABLE: "no server answered",
    ExitStatus.NOT_PERMITTED: "not permitted: no token, a bad one, a missing permission",
    ExitStatus.BUSY: "another export with this state file is still running",
    ExitStatus.INTERRUPTED: "interrupted with Ctrl-C",
}
VARIABLES = {
    "WSCTL_URL": "The server's address, unless --url or --context is given.",
    "WSCTL_TOKEN": "The token, unless an option gives one.",
    "WSSERVER_JWT_SECRET": "The secret that token create signs with.",
    "NO_COLOR": "If set, no colours. TERM=dumb does the same.",
    "COLUMNS": "Width of lines and tables, instead of the terminal's.",
    "SSL_CERT_FILE": "Certificate authorities to trust.",
    "XDG_CONFIG_HOME": "Folder of the contexts; default ~/.config.",
}
FILES = {
    "~/.config/wsctl/contexts.json": "Servers saved by name, mode 0600. Of tokens only the"
    " paths of their files.",
    "./var/dev-server.json": "Address of this folder's development server, found automatically.",
    "./var/dev-admin-token": "Its token, renewed while it runs.",
    "./var/dev-jwt-secret": "Its secret.",
}
EXAMPLES = {
    "Is the server healthy?": "wsctl health",
    "Who is online?": "wsctl online",
    "Was a message delivered?": "wsctl trace msg_01hk153x00h9v3t7n2c4d",
    "Disconnect a user, after a dry run:": "wsctl disconnect u1 --dry-run\n"
    'wsctl disconnect u1 --reason "password changed"',
    "Statistics of a day for a spreadsheet:": "wsctl export stats --since 24h --out stats.csv",
    "Enable completion in bash:": "source <(wsctl completion bash)",
}


def page() -> str:
    """The whole page."""
    version = re.search(r'__version__ = "(.+)"', (ROOT / "wsserver" / "version.py").read_text())
    lines = [
        '.\\" Made by scripts/manual from the commands; changes here are lost.',
        f'.TH WSCTL 1 "" "wsserver {version[1] if version else ""}" "User Commands"',
        ".SH NAME",
        "wsctl \\- operate a wsserver",
        ".SH SYNOPSIS",
        ".B wsctl",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(wsctl.help or ""),
        ".PP",
        "Data go to standard output, notes and errors to standard error.",
        ".SH OPTIONS",
        "They are accepted before the command and after it; the last one counts. A command that has"
        " an option of the same name, as \\fBcontext add\\fR has \\fB\\-\\-url\\fR, keeps its own.",
        *_options(wsctl, with_global=True),
        ".SH COMMANDS",
        *_commands(wsctl, ("wsctl",)),
        ".SH EXIT STATUS",
        *_list({str(int(code)): text for code, text in EXITS.items()}),
        ".SH ENVIRONMENT",
        *_list(VARIABLES),
        ".SH FILES",
        *_list(FILES),
        ".SH EXAMPLES",
    ]
    for what, how in EXAMPLES.items():
        lines += [".PP", _text(what), *_literally(how.splitlines())]
    lines += [".SH SEE ALSO", ".BR jq (1),", ".BR ping (1),", ".BR bash (1)", ".PP"]
    lines.append(_text("The server's documentation, in docs/wsctl.rst and the other pages there."))
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[str]:
    """A section for each command, including those of groups."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, LazyGroup):
            yield from _commands(command, (*path, name))
        elif command is not None:
            yield from _command(command, (*path, name))


def _command(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    ctx = click.Context(command)
    arguments = [p.make_metavar(ctx) for p in command.params if isinstance(p, click.Argument)]
    words = " ".join(path)
    yield f".SS {_text(words)}"
    rest = "".join(f" \\fI{_text(argument)}\\fR" for argument in arguments)
    yield f"\\fB{_text(words)}\\fR [\\fIOPTIONS\\fR]{rest}"
    yield from _paragraphs(command.help or "", first=".PP")
    yield from _options(command, with_global=False)
    if command.epilog:
        yield ".PP"
        yield "Examples:"
        yield from _literally([line.strip() for line in command.epilog.strip().splitlines()])


def _options(command: click.Command, *, with_global: bool) -> Iterator[str]:
    """Each option with its help; global options only in the program's section."""
    ctx = click.Context(command)
    for param in command.params:
        is_global = isinstance(param, GlobalOption)
        if isinstance(param, click.Option) and (with_global or not is_global):
            record = param.get_help_record(ctx)
            if record is not None:
                names, said = record
                yield from _item(names, said)


def _list(items: dict[str, str]) -> Iterator[str]:
    for name, said in items.items():
        yield from _item(name, said)


def _item(name: str, said: str) -> Iterator[str]:
    yield ".TP"
    yield f"\\fB{_text(name)}\\fR"
    yield _text(" ".join(said.split()))


def _paragraphs(text: str, first: str = "") -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number or first:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _literally(lines: list[str]) -> Iterator[str]:
    """Lines that are not filled, indented."""
    yield from (".PP", ".RS 4", ".nf")
    yield from map(_text, lines)
    yield from (".fi", ".RE")


def _text(text: str) -> str:
    """``text`` escaped for roff; characters that are copied stay ASCII."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    escaped = escaped.replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    escaped = "".join(sign if sign.isascii() else f"\\[u{ord(sign):04X}]" for sign in escaped)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def main(arguments: list[str]) -> int:
    """Write the page; with ``--check`` only report whether it is up to date."""
    made = page()
    if arguments == ["--check"]:
        is_same = PAGE.is_file() and PAGE.read_text(encoding="ascii") == made
        if not is_same:
            sys.stderr.write("docs/wsctl.1 is not up to date: run scripts/manual\n")
        return 0 if is_same else 1
    if arguments:
        sys.stderr.write("usage: scripts/manual [--check]\n")
        return 2
    PAGE.write_text(made, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
