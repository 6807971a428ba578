"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from tornado.ioloop import IOLoop

from scripts.backends.postgres import PostgresServer
from tests.support import migrated_file
from tests.support.fake_clock import FakeClock
from tests.support.http_provider import HttpProvider
from wsserver.wire import IS_COMPILED

TESTS = Path(__file__).parent

SLOW = (
    "acceptance/",
    "browser/",
    "cluster/",
    "contract/test_redis_",
    "contract/test_two_nodes.py",
    "deploy/test_drain.py",
    "deploy/test_image.py",
    "operators/",
    "test_answer_docs.py",
    "test_bench.py",
    "test_checks.py",
    "test_cli_db.py",
    "test_clock.py",
    "test_cluster_docs.py",
    "test_contributing.py",
    "test_conversation_docs.py",
    "test_database_docs.py",
    "test_demo.py",
    "test_deployment.py",
    "test_development.py",
    "test_docs.py",
    "test_log_events.py",
    "test_moderation_docs.py",
    "test_packaging.py",
    "test_postgresql_docs.py",
    "sdk/test_answers.py",
    "sdk/test_client.py",
    "test_process.py",
    "test_sdk_docs.py",
    "test_signals.py",
    "test_task_pages.py",
    "test_torture.py",
    "protocol/test_commands.py",
    "realtime/test_answers_model.py",
    "realtime/test_kept_messages_model.py",
    "storage/test_stream_model.py",
    "web/test_all_faults.py",
    "web/test_handshake.py",
    "web/test_keepalive.py",
    "web/test_listener.py",
    "web/test_queries.py",
    "web/test_requests.py",
    "web/test_schemathesis.py",
    "wire/test_autobahn.py",
    "wsctl/test_answer_limits.py",
    "wsctl/test_completion.py",
    "wsctl/test_export_state.py",
    "wsctl/test_process.py",
    "wsctl/test_widths.py",
)
"""Folders and files that are not ``quick``: they start many processes, browsers or servers, run
thousands of generated cases, or wait for timeouts in real time."""

LONG = ("cluster/", "contract/test_redis_")
"""Folders and files that a run of all tests leaves out, as they wait for leases of nodes to end, or
start many servers: minutes more. ``-m long`` runs them, and so does naming them. Others have a mark
``long``."""

NOT_LONG = {"cluster/test_lists.py", "cluster/test_messages.py"}
"""Files of these folders that every run has: the cluster as a whole works."""

QUICK = {"acceptance/test_commands.py", "acceptance/test_rest_reads.py"}
"""Files of these folders that are quick all the same: one server process, no waiting."""


@functools.cache
def is_slow(path: Path) -> bool:
    """Whether a test file is listed as slow."""
    return _is_listed(path, SLOW, QUICK)


@functools.cache
def is_long(path: Path) -> bool:
    """Whether a test file is listed as long; it is listed as slow, too."""
    return _is_listed(path, LONG, NOT_LONG)


def _is_listed(path: Path, listed: tuple[str, ...], others: set[str]) -> bool:
    name = path.relative_to(TESTS).as_posix()
    return name.startswith(listed) and name not in others


def pytest_configure(config: pytest.Config) -> None:
    """Leave long tests out unless they are named.

    Generated cases have no time limit, as the machine may be busy, and are the same ones in every
    run; ``-m quick`` makes fewer, and ``--hypothesis-profile random`` makes others.
    """
    is_of_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if is_of_all and not config.option.markexpr:
        config.option.markexpr = "not long"
    same = hypothesis.settings(deadline=None, derandomize=True, database=None)
    hypothesis.settings.register_profile("random", deadline=None)
    hypothesis.settings.register_profile("all", same)
    hypothesis.settings.register_profile("quick", same, max_examples=15)
    hypothesis.settings.load_profile("quick" if config.option.markexpr == "quick" else "all")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import files that are left out as a whole."""
    if collection_path.suffix != ".py":
        return None
    expression = config.option.markexpr
    is_left_out = (expression == "quick" and is_slow(collection_path)) or (
        expression == "not long" and is_long(collection_path)
    )
    return True if is_left_out else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector: all that is made, which is much, stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test ``slow`` or ``quick``, and ``long``, by its marks and the lists above.

    What is long is not quick. Slow files come first: several run at a time, and end together only
    if the last are short.
    """
    items.sort(key=lambda item: not is_slow(item.path))
    for item in items:
        if is_slow(item.path):
            item.add_marker(pytest.mark.slow)
        if is_long(item.path):
            item.add_marker(pytest.mark.long)
        if IS_COMPILED and item.get_closest_marker("pure"):
            item.add_marker(pytest.mark.skip("replaces parts of modules that are compiled"))
        if not any(map(item.get_closest_marker, ("slow", "long"))):
            item.add_marker(pytest.mark.quick)


@pytest.fixture(autouse=True, scope="session")
def interrupts_arrive() -> None:
    """Let SIGINT reach child processes, also where the tests run in the background.

    A shell ignores SIGINT there, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def terminal_of_the_test() -> Iterator[None]:
    """Remove the terminal size from the environment: pytest-xdist sets that of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COLUMNS", "LINES"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def files_with_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """New SQLite files are copies of one that was migrated."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("migrated")
        migrated_file.use(migrated_file.copies_of_migrated(folder), patch)
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private PostgreSQL server for the tests of this process."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def provider(io_loop: IOLoop) -> Iterator[HttpProvider]:
    """A provider's HTTP server, listening."""

    async def start() -> HttpProvider:
        made = HttpProvider()
        made.start()
        return made

    made = io_loop.run_sync(start)
    yield made
    io_loop.run_sync(made.stop)


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """The loop that ``@pytest.mark.gen_test`` runs on.

    pytest-tornado's own fixture uses calls that newer Tornados removed.
    """
    with asyncio.Runner() as runner:

        async def current() -> IOLoop:
            return IOLoop.current()

        loop = runner.run(current())
        asyncio.set_event_loop(runner.get_loop())
        yield loop
        asyncio.set_event_loop(None)
