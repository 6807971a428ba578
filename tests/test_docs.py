"""The documentation: its commands and examples are run, its tables compared."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from docutils import nodes
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.built_in import (
    ALL_PERMISSIONS,
    DEFAULT_ROLES,
    ENDPOINTS,
    EXTENSIONS,
    PARAMETERS,
)
from tests.support.example_shell import ExampleShell, assigned, make_example_shell, serve
from tests.support.rst_blocks import ROOT, block, blocks, outline, parse, table
from tests.support.waiting import PATIENCE_S

README, CHINESE = "README.rst", "README.zh.rst"
FILES = [README, CHINESE, "CHANGELOG.rst", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.rst"))]
ROLES = ("admin", "service", "manager", "user")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[ExampleShell]:
    """A folder with a server, started by the README's first command."""
    (command,) = block(README, "serve").commands
    yield from serve(make_example_shell(tmp_path), command)


# What the files look like


@pytest.mark.parametrize("path", FILES)
def test_a_file_parses_without_a_complaint(path: str) -> None:
    assert parse(path)[1] == ""


@pytest.mark.parametrize("path", FILES)
def test_the_links_of_a_file_lead_somewhere(path: str) -> None:
    for node in parse(path)[0].findall():
        target = node.get("refuri", "") if hasattr(node, "get") else ""
        if target and "://" not in target:
            assert ((ROOT / path).parent / target.partition("#")[0]).exists(), target


def test_the_chinese_readme_is_built_as_the_english_one() -> None:
    assert outline(CHINESE) == outline(README)


def test_the_chinese_readme_has_the_same_code() -> None:
    assert blocks(CHINESE) == blocks(README)


def test_every_json_example_is_json() -> None:
    for path in FILES:
        for example in blocks(path):
            if example.language == "json":
                json.loads(example.text)


def test_every_python_example_compiles() -> None:
    for path in FILES:
        for example in blocks(path):
            if example.language == "python":
                compile(example.text, f"{path}:{example.name}", "exec")


# The first five minutes


def test_the_first_five_minutes(shell: ExampleShell) -> None:
    """Serve, token, a client in Python, wsctl: literally as the README has it."""
    shell.run("\n".join(block(README, "token").commands))
    program = shell.here(block(README, "hello.py").text)
    (shell.folder / "hello.py").write_text(program, encoding="utf-8")
    (command,) = block(README, "hello").commands
    with shell.start(command) as client:
        assert client.stdout is not None
        shown = [client.stdout.readline().strip() for _ in range(4)]
        said = shell.run("\n".join(block(README, "answer").commands))
        rest = client.stdout.read()
        assert client.wait(PATIENCE_S) == 0
        kept = shell.run("\n".join(block(README, "kept").commands))
    _publish_from_a_backend(shell)
    assert "\n".join(shown) in [example.text for example in blocks(README)]
    assert "new_message Welcome, Alice\n" in rest
    assert rest.endswith("new_message bye\n")
    for shown_by_wsctl in ("user:bob, offset 1", "pending: offline", "Hello", "Welcome, Alice"):
        assert shown_by_wsctl in kept
    for shown_by_wsctl in ("alice", "s1", "total connections"):
        assert shown_by_wsctl in said


def _publish_from_a_backend(shell: ExampleShell) -> None:
    """Sign a token in five lines and publish with curl."""
    (shell.folder / "sign.py").write_text(block(README, "sign.py").text, encoding="utf-8")
    sign, *requests = block(README, "publish").commands
    shell.run(sign)
    if shutil.which("curl") is None:
        return
    published, notified = (json.loads(shell.run(f"{each} --fail")) for each in requests)
    shown = json.loads(block(README, "published").text)
    assert is_like(shown, published)
    assert published["matched"] == shown["matched"]
    assert notified["notification_id"].startswith("notify_")
    assert "Your parcel is on its way" in shell.run("wsctl history s1")


def test_a_clone_is_made_as_shown(tmp_path: Path) -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git, or no repository to clone")
    script = " && ".join([*block(README, "clone").commands, "ls scripts/serve"])
    environ = {**os.environ, "REPOSITORY": str(ROOT)}
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=environ, check=True)


@pytest.mark.long
def test_the_default_locale_is_changed_as_shown(tmp_path: Path) -> None:
    (command,) = block(README, "default-locale").commands
    titles = []
    for name, start in (("usual", block(README, "serve").commands[0]), ("english", command)):
        (tmp_path / name).mkdir()
        for running in serve(make_example_shell(tmp_path / name), start):
            params = "--param summary=Charts --param version=2"
            sent = f"wsctl notify u1 --template feature_update {params} -o json"
            notification_id = json.loads(running.run(sent))["notification_id"]
            shown = json.loads(running.run(f"wsctl notifications show {notification_id} -o json"))
            titles.append(shown["title"])
    usual, english = titles
    assert not usual.isascii()
    assert english.isascii()


@pytest.mark.parametrize("path", [README, CHINESE])
def test_what_is_said_of_retention_is_the_default(path: str) -> None:
    from wsserver.config.settings import Settings

    units = {"小时": 3600, "天": 86_400, "分钟": 60, "hours": 3600, "days": 86_400, "minutes": 60}
    defaults = {each.name: each.default for each in msgspec.structs.fields(Settings)}
    said = {row[2]: row[1] for row in table(path, "retention") if row[2].isidentifier()}
    assert len(said) == 7
    for setting, text in said.items():
        number, unit = f"{text} -".replace(",", "").replace("，", " ").split()[:2]
        wanted = defaults[setting] / (units[unit] if setting.endswith("_s") else 1)
        assert float(number) == wanted, setting


@pytest.mark.parametrize("path", [README, CHINESE])
def test_its_pictures_are_there_and_small(path: str) -> None:
    images = list(parse(path)[0].findall(nodes.image))
    assert images
    for image in images:
        content = (ROOT / image["uri"]).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) <= 200_000
        assert image["alt"]


@pytest.mark.parametrize("command", block(README, "watch").commands)
def test_watching_shows_something_immediately_and_ends_with_ctrl_c(
    shell: ExampleShell, command: str
) -> None:
    with shell.start(command) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() != ""
        watcher.send_signal(signal.SIGINT)
        watcher.stdout.read()
        assert watcher.wait(PATIENCE_S) == 130


# The REST page


def test_every_rest_example_is_answered_as_shown(shell: ExampleShell) -> None:
    """Run each curl command; the answer must have the members of the one that is printed."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH, which the examples use")
    customer = Customer(shell)
    try:
        _run_rest_examples(shell, customer)
    finally:
        customer.leave()


def _run_rest_examples(shell: ExampleShell, customer: Customer) -> None:
    listing = blocks("docs/rest.rst")
    assignments = block("docs/rest.rst", "rest-variables").commands
    of_each = dict(zip(("CONNECTION", "MESSAGE", "NOTIFICATION"), assignments[-3:], strict=True))
    customer.come()
    variables = assigned(shell, assignments)
    ran = 0
    for place, example in enumerate(listing):
        if example.language != "console" or example.name == "rest-variables":
            continue
        customer.come()
        (command,) = example.commands
        # An earlier example may have ended what they name.
        its_own = [each for name, each in of_each.items() if f"${name}" in command]
        lines = [variables, *its_own, f"{command} --fail-with-body"]
        output = shell.run("\n".join(lines))
        following = listing[place + 1] if place + 1 < len(listing) else None
        if following is not None and following.language == "json":
            shown, real = json.loads(following.text), json.loads(output)
            assert is_like(shown, real), f"{command}\nshown: {shown}\nreal: {real}"
        ran += 1
    assert ran >= 25


class Customer:
    """The user that the examples speak of; comes back whenever an example has put them out."""

    def __init__(self, shell: ExampleShell) -> None:
        token = shell.run(
            "wsctl token create --user user_67890 --username sales_manager --role manager"
            " --organization org_123 --sessions session_abc123"
        ).strip()
        self._url = shell.url.replace("http", "ws") + "/ws/chat/session/session_abc123"
        self._protocols: Any = ["wsserver.v1", f"bearer.{token}"]
        self._socket: ClientConnection | None = None
        self._open = contextlib.ExitStack()

    def come(self) -> None:
        """Be connected, and in the session."""
        with contextlib.suppress(ConnectionClosed):
            if self._socket is not None:
                self._socket.send('{"type": "ping"}')
                self._hear("pong")
                return
        self.leave()
        self._socket = self._open.enter_context(connect(self._url, subprotocols=self._protocols))
        self._hear("session_joined")

    def _hear(self, type_: str) -> None:
        assert self._socket is not None
        while json.loads(self._socket.recv(timeout=PATIENCE_S))["type"] != type_:
            pass

    def leave(self) -> None:
        """Be gone."""
        self._open.close()


def is_like(shown: Any, real: Any) -> bool:
    """Has the real answer all members of the one that is shown, of the same types?"""
    if isinstance(shown, dict):
        return isinstance(real, dict) and all(
            name in real and is_like(member, real[name]) for name, member in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(real, list) and (
            not shown or (len(real) > 0 and all(map(is_like, shown, real)))
        )
    if isinstance(shown, float | int) and not isinstance(shown, bool):
        return isinstance(real, float | int) or real is None
    return type(shown) is type(real)


# Event streams


def test_the_event_stream_speaks_as_shown(shell: ExampleShell) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH, which the examples use")
    setting, opening = block("docs/sse.rst", "sse-open").commands
    token = shell.run(setting.removeprefix("export TOKEN=$(").removesuffix(")")).strip()
    with shell.start(opening.replace("$TOKEN", token)) as stream:
        assert stream.stdout is not None
        lines = [stream.stdout.readline() for _ in range(8)]
        data = [line for line in lines if line.startswith("data: ")]
        established, joined = (json.loads(line.removeprefix("data: ")) for line in data)
        assert joined["type"] == "session_joined"
        (command,) = block("docs/sse.rst", "sse-command").commands
        answer = shell.run(f"export TOKEN={token} CHANNEL={established['channel']}\n{command}")
        stream.terminate()
    following = blocks("docs/sse.rst")
    place = next(n for n, each in enumerate(following) if each.name == "sse-command")
    assert is_like(json.loads(following[place + 1].text), json.loads(answer))


# The tables

AT_THE_ROOT = (
    "/metrics",
    "/sse/commands",
    "/intake/gewe/{account}",
    "/intake/webhook/{account}",
)


def test_the_permission_table_is_the_one_in_force() -> None:
    rows = {row[0]: row[1:] for row in table("docs/rest.rst", "permissions")}
    assert rows == {
        permission: ["yes" if permission in DEFAULT_ROLES[role] else "no" for role in ROLES]
        for permission in ALL_PERMISSIONS
    }


def test_the_route_table_is_the_one_served() -> None:
    from wsserver.web.api.endpoint import PREFIX, PUBLIC, SIGNED_IN

    shown = {}
    for method, path, permission, *cells in table("docs/rest.rst", "routes"):
        shown[method, path.removesuffix(" (at the root)")] = (permission, cells)
    words = {PUBLIC: "none", SIGNED_IN: "any valid token"}
    real = {}
    for endpoint in ENDPOINTS:
        if not endpoint.path.startswith(PREFIX) and endpoint.path not in AT_THE_ROOT:
            continue  # the description of the API, and pages
        permission = words.get(endpoint.access, endpoint.access)
        cells = [
            "yes" if permission in words.values() or permission in DEFAULT_ROLES[role] else "no"
            for role in ROLES
        ]
        real[endpoint.method, endpoint.path.removeprefix(PREFIX)] = (permission, cells)
    assert shown == real


def test_the_template_table_is_the_one_in_force() -> None:
    from wsserver.notifications.parameters import known, required

    shown = {
        row[0]: set(row[1].split(", ")) for row in table("docs/notifications.rst", "templates")
    }
    assert shown == {
        template: {
            name if name in required(template, PARAMETERS) else f"{name}?"
            for name in known(template, PARAMETERS)
        }
        for template in PARAMETERS
    }


def test_the_close_codes_are_all_there() -> None:
    from wsserver.protocol.close_codes import CloseCode

    text = parse("docs/protocol.rst")[0].astext()
    assert [int(code) for code in CloseCode if str(int(code)) not in text] == []


# wsctl doctor and bench


def test_the_checks_of_the_doctor_are_all_there() -> None:
    from wsctl.doctor.checks import CHECKS

    assert [row[0] for row in table("docs/doctor.rst", "checks")] == list(CHECKS)


@pytest.mark.long
def test_the_doctor_and_the_bench_run_as_shown(shell: ExampleShell) -> None:
    for command in block("docs/doctor.rst", "doctor-commands").commands:
        said = shell.run(command)
    shown = json.loads(block("docs/doctor.rst", "doctor-json").text)
    real = json.loads(said)
    (delivery,) = [check for check in real["checks"] if check["id"] == "socket.delivery"]
    assert is_like(shown, {**real, "checks": [delivery]})
    for command in block("docs/doctor.rst", "bench-commands").commands:
        assert shell.run(command) != ""


# Webhooks


def test_the_receiver_of_the_documents_accepts_only_genuine_webhooks() -> None:
    from wsserver.notifications.webhooks import sign

    (example,) = [each for each in blocks("docs/webhooks.rst") if "def is_genuine" in each.text]
    names: dict[str, Any] = {}
    exec(example.text, names)
    now = int(time.time())
    body = b'{"name": "user_connected"}'
    assert names["is_genuine"](sign(body, "s", now), body, "s")
    assert not names["is_genuine"](sign(body, "s", now), body + b" ", "s")
    assert not names["is_genuine"](sign(body, "other", now), body, "s")
    assert not names["is_genuine"](sign(body, "s", now - 301), body, "s")
    for header in ("", "t=x,v1=y", "v1=y", f"t={now}"):
        assert not names["is_genuine"](header, body, "s")


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")
def test_so_does_the_one_in_javascript(tmp_path: Path) -> None:
    from wsserver.notifications.webhooks import sign

    (example,) = [each for each in blocks("docs/webhooks.rst") if "isGenuine" in each.text]
    now = int(time.time())
    body = '{"name": "user_connected"}'
    tries = [
        [sign(body.encode(), "s", now), body],
        [sign(body.encode(), "s", now), body + " "],
        [sign(body.encode(), "other", now), body],
        [sign(body.encode(), "s", now - 301), body],
        ["", body],
        ["v1=y", body],
    ]
    program = tmp_path / "receiver.mjs"
    program.write_text(
        f"{example.text}\nconsole.log(JSON.stringify({json.dumps(tries)}.map("
        '([header, body]) => isGenuine(header, Buffer.from(body), "s"))));\n'
    )
    shown = subprocess.run(["node", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(shown) == [True, False, False, False, False, False]


# Plugins and embedding


def test_the_plugin_example_welcomes(tmp_path: Path) -> None:
    shell = make_example_shell(tmp_path)
    plugin = block("docs/embedding.rst", "audit_plugin.py").text
    (tmp_path / "audit_plugin.py").write_text(plugin, encoding="utf-8")
    (command,) = block("docs/embedding.rst", "plugin-serve").commands
    for running in serve(shell, f"{command} --port 0"):
        token = running.run("wsctl token create --user alice").strip()
        url = running.url.replace("http", "ws") + "/ws/chat"
        with connect(url, subprotocols=["wsserver.v1", f"bearer.{token}"]) as socket:  # type: ignore[list-item]
            pushes = [json.loads(socket.recv(timeout=PATIENCE_S)) for _ in range(2)]
    assert [push["type"] for push in pushes] == ["connection_established", "welcome"]
    assert pushes[1]["data"] == {"text": "Hello!"}


EMBEDDING = "docs/embedding.rst"


def write_example(folder: Path, name: str, **replaced: int) -> None:
    """Write a program of the documentation into a folder, with other ports."""
    program = block(EMBEDDING, name).text
    for usual, port in replaced.items():
        program = program.replace(usual.removeprefix("port_"), str(port))
    (folder / name).write_text(program, encoding="utf-8")


def test_the_first_embedding_example_greets(tmp_path: Path) -> None:
    shell = make_example_shell(tmp_path)
    (port,) = free_ports(1)
    write_example(tmp_path, "hello_server.py", port_8765=port)
    (command,) = block(EMBEDDING, "hello-server").commands
    with shell.start(command, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        with connect(url) as client:
            pushes = [json.loads(client.recv(timeout=PATIENCE_S)) for _ in range(3)]
            program.send_signal(signal.SIGINT)
            assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "server_draining"
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=PATIENCE_S)
        _, errors = program.communicate(timeout=PATIENCE_S)
    assert (program.returncode, errors) == (0, ""), "Ctrl-C shows no traceback"
    assert [push["type"] for push in pushes] == ["connection_established", "note", "notification"]
    assert pushes[1]["data"] == {"text": "Hello, alice!"}
    assert pushes[2]["notification"]["message"] == "You are connected."


def test_the_embedding_example_serves_a_shop(tmp_path: Path) -> None:
    shell = make_example_shell(tmp_path)
    socket_port, shop_port = free_ports(2)
    write_example(tmp_path, "shop.py", port_8765=socket_port, port_8080=shop_port)
    secret = re.search(r'jwt_secret="(.+)"', block(EMBEDDING, "shop.py").text)
    assert secret is not None
    shell.environ["WSSERVER_JWT_SECRET"] = secret[1]
    token = shell.run("wsctl token create --user alice").strip()
    with shell.start("python shop.py", stderr=subprocess.PIPE) as shop:
        assert shop.stdout is not None
        assert shop.stdout.readline() == "ready\n"
        url = f"ws://127.0.0.1:{socket_port}/ws/chat"
        with connect(url, subprotocols=["wsserver.v1", f"bearer.{token}"]) as socket:  # type: ignore[list-item]
            assert json.loads(socket.recv(timeout=PATIENCE_S))["type"] == "connection_established"
            assert post(f"http://127.0.0.1:{shop_port}/orders/alice") == {"sent": 1}
            push = json.loads(socket.recv(timeout=PATIENCE_S))
            assert (push["type"], push["data"]) == ("order.placed", {"total": 42})
            shop.send_signal(signal.SIGINT)
            while json.loads(socket.recv(timeout=PATIENCE_S))["type"] != "server_draining":
                pass
        _, errors = shop.communicate(timeout=PATIENCE_S)
    assert (shop.returncode, errors) == (0, ""), "Ctrl-C shows no traceback"


def test_the_example_of_a_test_passes(tmp_path: Path) -> None:
    shell = make_example_shell(tmp_path)
    for name in ("orders.py", "conftest.py", "test_orders.py"):
        write_example(tmp_path, name)
    said = shell.run("python -m pytest -q -p no:cacheprovider")
    assert "1 passed" in said


def test_the_orders_that_are_not_tested_there_work_too(tmp_path: Path) -> None:
    """An order of an offline user is notified; a message of a session is kept."""
    import asyncio

    from wsserver import Server, Settings

    names: dict[str, Any] = {}
    exec(block(EMBEDDING, "orders.py").text, names)

    async def run() -> None:
        server = Server(Settings(port=0, data_dir=tmp_path, jwt_secret="s" * 32))
        delivered: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        server.on("notification_sent", delivered.put_nowait)
        async with server:
            assert await names["order_placed"](server, "bob", "18") == 1
            assert (await delivered.get())["user_id"] == "bob"
            page = await server.history("user:bob")
            assert [each["type"] for each in page["messages"]] == ["order.placed", "notification"]
            await names["say"](server, "s1", "Hello")
            await names["say"](server, "no session", "Hello")
            page = await server.history("session:s1")
            assert [each["message"]["content"] for each in page["messages"]] == ["Hello"]

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_every_public_name_is_in_its_table() -> None:
    import wsserver

    assert sorted(row[0] for row in table(EMBEDDING, "public")) == sorted(wsserver.__all__)


def test_every_member_of_the_server_is_named() -> None:
    from wsserver import Server

    text = parse(EMBEDDING)[0].astext()
    members = [name for name in vars(Server) if not name.startswith("_") and name != "of"]
    assert [name for name in members if not re.search(rf"\b{name}\b", text)] == []
    named = set(re.findall(r"(?<!\w)server\.(\w+)", text))
    assert named <= {*members, "settings"}


def test_every_event_is_in_its_table() -> None:
    from wsserver.realtime.observability import events

    constants = {n: v for n, v in vars(events).items() if n.isupper() and n[0] != "_"}
    known = {value for name, value in constants.items() if not name.endswith("_PERMISSION")}
    shown = {row[0] for row in table(EMBEDDING, "events")}
    known |= {name for each in EXTENSIONS for name in each.events}
    assert shown == {name for name in known if isinstance(name, str)}


def free_ports(count: int) -> list[int]:
    """Free ports."""
    import socket

    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in listening]
    for one in listening:
        one.close()
    return ports


def post(url: str) -> Any:
    """POST nothing; returns the JSON of the answer."""
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as answer:
        return json.load(answer)
