"""The layers: imports between packages, and the length of modules."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 600
"""Lines; past it a file is asked whether it is two."""

LEAVES = (
    *("config", "errors", "identity", "addresses", "clock", "native", "tasks", "version"),
    *("histogram", "logs", "telemetry", "paging", "redaction", "fd_limits", "event_loop"),
    "promise",
)
LAYERS: tuple[tuple[str, ...], ...] = (
    ("protocol", "wire"),
    ("storage", "cluster"),
    ("realtime",),
    ("notifications",),
    ("web",),
    ("extending",),
    ("extensions",),
    (
        "app",
        "extension_registry",
        "http_client",
        "channel_factory",
        "telemetry_factory",
        "traced_http",
        "cluster_factory",
        "database_factory",
        "service",
        "plugins",
        "lifecycle",
        "listening_sockets",
        "workers",
        "server",
        "server_answer",
        "process",
        "cli",
        "development",
        "__main__",
    ),
)
"""From left to right: each may import the layers before it, itself, and the leaves."""

PACKAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "realtime": (
        ("messages", "connections"),
        ("observability", "streams"),
        ("access", "delivery", "dispatcher"),
        ("answers",),
        ("inbox", "sessions", "tracing"),
        ("connect_state",),
        ("event_streams",),
        ("connecting",),
        ("manager",),
        ("operations",),
        ("commands",),
        ("live_side",),
        ("wiring",),
    ),
    "storage": (
        ("engine",),
        ("messages",),
        ("notifications",),
        ("tables",),
        ("maintenance",),
    ),
    "web": (
        ("http",),
        ("api",),
        ("openapi", "sockets"),
        ("resources",),
        ("server",),
    ),
}
"""Inside these layers: each package may import itself and those before it."""

WSCTL_LEAVES = {
    *("__main__", "atomic_file", "client_report", "drain_comparison", "errors"),
    *("formatting", "text", "times"),
}
WSCTL_PACKAGES: tuple[tuple[str, ...], ...] = (
    ("output",),
    ("config",),
    ("http",),
    ("snapshots", "websocket"),
    ("bench", "cli", "doctor", "exporting", "replay", "top"),
    ("commands",),
)
"""Of ``wsctl``: each may import itself, those before it, and the leaves."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
WSCTL_RANK = {name: rank for rank, names in enumerate(WSCTL_PACKAGES) for name in names}
CONFINED = {
    # foreign package: parts of wsserver that may import it
    "tornado": {"web", "app", "http_client", "listening_sockets"},
    "redis": {"cluster"},
    "sqlite_utils": {"storage"},
    "psycopg": {"storage"},
    "httptools": {"web"},
    "httpx": {"sdk"},
    "opentelemetry": {"telemetry"},
    "httpx2": {"extensions"},
    "boto3": {"extensions"},
    "botocore": {"extensions"},
}
ALLOWED_NEVERTHELESS = {("wire", "tornado.speedups.websocket_mask")}
"""A C function that unmasks bytes, and knows nothing of the web."""

WSCTL_FORBIDDEN = {"wsserver", "tornado", "sqlite_utils"}


@functools.cache
def imports_of(source: str) -> list[tuple[int, str]]:
    """Line and dotted name of everything imported, also inside functions and TYPE_CHECKING.

    Each module is asked about several times, and to parse all takes seconds.
    """
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def faults_of(module: str, source: str) -> list[str]:
    """What a module of ``wsserver`` or ``wsctl`` imports against the rules."""
    package, _, inside = module.partition(".")
    part = inside.partition(".")[0]
    faults = []
    for line, name in imports_of(source):
        top, _, rest = name.partition(".")
        wrong = (
            top in WSCTL_FORBIDDEN
            or (top == "wsctl" and _is_arrow_within_wsctl(part, rest.partition(".")[0]))
            if package == "wsctl"
            else _is_arrow_to_the_right(part, rest.partition(".")[0])
            or _is_arrow_to_a_later_package(inside, rest)
            if top == "wsserver"
            else top in CONFINED
            and part not in CONFINED[top]
            and (part, name) not in ALLOWED_NEVERTHELESS
        )
        if wrong:
            faults.append(f"{module}:{line} imports {name}")
    return faults


def _is_arrow_to_the_right(part: str, imported: str) -> bool:
    if not part:  # wsserver/__init__.py, the public face, which imports lazily
        return False
    if "sdk" in (part, imported):  # a client of its own, for programs that are no server
        return imported not in (part, "version")
    if part == imported or imported in LEAVES:
        return False
    if imported not in RANK:
        return True
    if part in LEAVES or part not in RANK:
        return True
    if part in LAYERS[-1]:  # the parts of the last layer make one program together
        return False
    return RANK[imported] >= RANK[part]


def _is_arrow_to_a_later_package(inside: str, imported: str) -> bool:
    layer, _, mine = inside.partition(".")
    other_layer, _, other = imported.partition(".")
    if layer != other_layer or layer not in PACKAGES or not mine or not other:
        return False
    mine, other = mine.partition(".")[0], other.partition(".")[0]
    rank = {name: rank for rank, names in enumerate(PACKAGES[layer]) for name in names}
    if mine not in rank or other not in rank:  # another test asks that each has its place
        return False
    return mine != other and rank[other] >= rank[mine]


def assignments_of(source: str) -> Iterator[str]:
    """Assignments to an attribute of another object: ``x.y = …`` where x is not ``self``."""
    for node in ast.walk(ast.parse(source)):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets = [node.target]
        for target in targets:
            for each in ast.walk(target):
                if (
                    isinstance(each, ast.Attribute)
                    and isinstance(each.ctx, ast.Store)
                    and ast.unparse(each.value) != "self"
                ):
                    yield f"{each.lineno}: {ast.unparse(each)}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
            yield f"{node.lineno}: {ast.unparse(node)}"


def _is_arrow_within_wsctl(part: str, imported: str) -> bool:
    if part == imported or part == "__main__" or imported in WSCTL_LEAVES:
        return False
    if part not in WSCTL_RANK or imported not in WSCTL_RANK:
        return True
    return WSCTL_RANK[imported] >= WSCTL_RANK[part]


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("wsserver", "wsctl"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def test_imports_point_left_only() -> None:
    faults = [fault for module, path in modules() for fault in faults_of(module, path.read_text())]
    assert not faults, "\n".join(faults)


def test_the_driver_of_redis_is_imported_only_where_it_is_configured() -> None:
    importing = {
        module
        for module, path in modules()
        if not module.startswith("wsserver.cluster.redis")
        and any("cluster.redis." in name for _, name in imports_of(path.read_text()))
    }
    assert importing == {"wsserver.cluster_factory"}


def extension_faults(module: str, source: str) -> list[str]:
    """Imports of an extension by anything else, and of one program by the other."""
    own = module.split(".")[2] if module.startswith("wsserver.extensions.") else ""
    is_command = module.startswith("wsserver.extensions.") and module.endswith(".wsctl")
    faults = []
    for line, name in imports_of(source):
        parts = name.split(".")
        wrong = (
            (parts[:2] == ["wsserver", "extensions"] and (not own or parts[2:3] != [own]))
            or (parts[0] == "wsctl" and module.startswith("wsserver.") and not is_command)
            or (parts[0] == "wsserver" and is_command)
        )
        if wrong:
            faults.append(f"{module}:{line} imports {name}")
    return faults


def test_nothing_imports_an_extension() -> None:
    """Their names are in ``extension_registry``, as texts: a disabled one is not imported."""
    faults = [
        each for module, path in modules() for each in extension_faults(module, path.read_text())
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wsserver.app", "from wsserver.extensions.tasks.extension import TASKS"),
        ("wsserver.extending.x", "import wsserver.extensions.tasks"),
        ("wsserver.extensions.other.x", "from wsserver.extensions.tasks.model import Task"),
        ("wsserver.extensions.other.x", "from wsctl.output.writer import Output"),
        ("wsserver.extensions.other.wsctl", "from wsserver.extensions.other.model import X"),
        ("wsserver.extensions.other.wsctl", "from wsserver.clock import Clock"),
        ("wsserver.cli.x", "import wsctl"),
    ],
)
def test_the_checker_sees_an_import_of_an_extension(module: str, source: str) -> None:
    assert len(extension_faults(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wsserver.extensions.other.x", "from wsserver.extensions.other.model import X"),
        ("wsserver.extensions.other.x", "from wsserver.extending import Extension"),
        ("wsserver.extensions.other.wsctl", "from wsctl.output.writer import Output\nimport click"),
    ],
)
def test_the_checker_lets_an_extension_s_own_imports_pass(module: str, source: str) -> None:
    assert extension_faults(module, source) == []


def test_every_part_of_the_package_has_its_place() -> None:
    parts = {module.split(".")[1] for module, _ in modules() if module.startswith("wsserver.")}
    assert parts <= {*LEAVES, *RANK, "sdk"}


def is_wiring(module: str) -> bool:
    """Does a module of ``wsserver`` put objects together?"""
    name = module.rpartition(".")[2]
    return name in ("app", "application") or name.endswith("wiring")


def test_nothing_is_assigned_after_construction() -> None:
    """Constructors get what they need, so that the wiring reads as a diagram."""
    wiring = {module: path.read_text() for module, path in modules() if is_wiring(module)}
    assert {"wsserver.app", "wsserver.realtime.wiring"} <= set(wiring)
    found = {module: list(assignments_of(source)) for module, source in wiring.items()}
    assert not any(found.values()), found


@pytest.mark.parametrize(
    "source",
    [
        "streams.on_unreached = inboxes.queued",
        "deliveries.receipts.notified: Any = notified",
        "def build():\n    manager.count += 1",
        "a, router.inboxes = b, c",
        "self.manager.is_starting = True",
        "setattr(router, 'inboxes', inboxes)",
    ],
)
def test_the_checker_sees_an_assignment_to_another_object(source: str) -> None:
    assert len(list(assignments_of(source))) == 1


def test_the_checker_lets_an_object_s_own_attributes_pass() -> None:
    assert not list(assignments_of("class A:\n    def __init__(self):\n        self.x = y.z"))


@pytest.mark.parametrize("layer", sorted(PACKAGES))
def test_every_package_of_a_layer_has_its_place(layer: str) -> None:
    found = {
        module.split(".")[2] for module, _ in modules() if module.startswith(f"wsserver.{layer}.")
    }
    assert found == {name for names in PACKAGES[layer] for name in names}


def test_every_part_of_wsctl_has_its_place() -> None:
    parts = {module.split(".")[1] for module, _ in modules() if module.startswith("wsctl.")}
    assert parts == {*WSCTL_LEAVES, *WSCTL_RANK}


def test_no_file_is_longer_than_a_reader_can_bear() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for _, path in modules()}
    too_long = {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE}
    assert not too_long, f"longer than {LONGEST_FILE} lines: {too_long}"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wsserver.protocol.x", "from wsserver.realtime.connections.hub import Hub"),
        ("wsserver.protocol.x", "import wsserver.wire.frames"),
        ("wsserver.wire.x", "from wsserver.protocol import pushes"),
        ("wsserver.storage.x", "from wsserver.cluster.broker import Broker"),
        ("wsserver.cluster.x", "from wsserver.realtime.connections.hub import Hub"),
        ("wsserver.realtime.x", "from wsserver.web.api.handlers import Handler"),
        ("wsserver.realtime.x", "from wsserver import web"),
        ("wsserver.realtime.x", "from wsserver.notifications.service import X"),
        ("wsserver.web.x", "from wsserver.app import build"),
        ("wsserver.realtime.messages.x", "from wsserver.realtime.inbox.inboxes import Inboxes"),
        ("wsserver.realtime.streams.x", "import wsserver.realtime.observability.events"),
        ("wsserver.storage.engine.x", "from wsserver.storage.tables import audit"),
        ("wsserver.web.api.x", "from wsserver.web.server.fast_path import FastPath"),
        ("wsserver.identity.x", "from wsserver.protocol.types import Id"),
        ("wsserver.errors", "from wsserver.protocol.types import Id"),
        ("wsserver.clock", "from wsserver.service import Service"),
        ("wsserver.realtime.x", "from wsserver import Settings"),
        ("wsserver.newcomer.x", "from wsserver.protocol.types import Id"),
        ("wsserver.realtime.x", "from wsserver.newcomer import X"),
        ("wsserver.realtime.x", "from tornado.web import HTTPError"),
        ("wsserver.wire.x", "from tornado.ioloop import IOLoop"),
        ("wsserver.realtime.x", "from tornado.speedups import websocket_mask"),
        ("wsserver.identity.x", "import tornado.httpclient"),
        ("wsserver.realtime.x", "import redis"),
        ("wsserver.web.x", "from redis.asyncio import Redis"),
        ("wsserver.realtime.x", "import sqlite_utils"),
        ("wsserver.app", "from sqlite_utils import Database"),
        ("wsctl.http.x", "from wsserver.errors import NotFound"),
        ("wsctl.http.x", "import tornado"),
        ("wsctl.http.x", "from sqlite_utils import Database"),
        ("wsctl.http.x", "from wsctl.websocket.connection import options"),
        ("wsctl.cli.x", "from wsctl.commands import stats"),
        ("wsctl.top.x", "import wsctl.cli.environment"),
        ("wsctl.text", "from wsctl.output.writer import Output"),
        ("wsctl.unknown.x", "from wsctl.output.writer import Output"),
        ("wsserver.protocol.x", "def f():\n    from wsserver.realtime.connections.hub import Hub"),
        (
            "wsserver.protocol.x",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import wsserver.web.api",
        ),
    ],
)
def test_the_checker_sees_an_arrow_against_the_rule(module: str, source: str) -> None:
    (fault,) = faults_of(module, source)
    assert fault.startswith(f"{module}:")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wsserver.realtime.x", "from wsserver.protocol.types import Id\nimport asyncio"),
        ("wsserver.realtime.x", "from wsserver.realtime.connections.hub import Hub"),
        ("wsserver.realtime.x", "from wsserver.errors import NotFound"),
        ("wsserver.wire.x", "from wsserver.clock import Clock"),
        ("wsserver.web.x", "from tornado.web import RequestHandler"),
        ("wsserver.app", "from wsserver.service import Service\nimport tornado.ioloop"),
        ("wsserver.cluster.redis", "import redis"),
        ("wsserver.storage.x", "import sqlite_utils"),
        ("wsserver.config.x", "from wsserver.identity.keys import SecretKeys"),
        ("wsserver.cli", "from wsserver.version import __version__"),
        ("wsserver", "from wsserver.server import Server"),
        ("wsctl.commands.x", "from wsctl.output.writer import Output\nimport httpx"),
        ("wsctl.snapshots.x", "from wsctl.http.client import Client"),
        ("wsctl.output.x", "from wsctl.text import printable"),
        ("wsctl.__main__", "from wsctl.cli.root import wsctl"),
    ],
)
def test_the_checker_lets_the_others_pass(module: str, source: str) -> None:
    assert faults_of(module, source) == []


def cycles_of(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    remaining = {name: set(targets) for name, targets in graph.items()}
    while leaves := {name for name, targets in remaining.items() if not targets}:
        remaining = {n: t - leaves for n, t in remaining.items() if n not in leaves}
    while unused := remaining.keys() - set().union(*remaining.values()):
        remaining = {n: t for n, t in remaining.items() if n not in unused}
    return [sorted(remaining)] if remaining else []


def test_no_modules_import_each_other() -> None:
    """Imports inside functions and under ``TYPE_CHECKING`` count as well."""
    paths = dict(modules())
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        names = {name for _, name in imports_of(path.read_text(encoding="utf-8"))}
        targets = {name if name in paths else name.rpartition(".")[0] for name in names}
        graph[module] = targets & paths.keys() - {module}
    assert cycles_of(graph) == []


def test_the_search_for_cycles_finds_them() -> None:
    a_tree = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert cycles_of(a_tree) == []
    assert cycles_of(a_tree | {"c": {"d"}, "d": {"b"}, "e": {"a"}}) == [["b", "c", "d"]]
