"""The console of one of two nodes: it lists both nodes' rows, and names a node that is silent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Page, expect

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.cluster_servers import ClusterServers, without_messages
from tests.support.console_pages import Console
from tests.support.running_server import ADMIN
from tests.support.tokens import token
from tests.support.websocket_clients import open_client

pytestmark = [*NEEDS_CHROMIUM, pytest.mark.long]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def nodes(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, valkey: ValkeyProcess
) -> Iterator[ClusterServers]:
    """Two nodes, each with a user who is in the session ``both``."""
    database_url = postgres.create_database(is_empty=True)
    made = ClusterServers(tmp_path_factory.mktemp("nodes"), database_url, valkey.url)
    try:
        clients = []
        for node, user in (("n1", "ann"), ("n2", "bob")):
            client = open_client(made.start(node), bearer=token(user, sessions=["both"]))
            client.established = client.push("connection_established")
            client.join("both")
            clients.append(client)
        yield made
        for client in clients:
            client.close()
        made.stop()
    finally:
        made.kill()
        postgres.drop_database(database_url)


async def shows(page: Page, *rows: tuple[str, str]) -> None:
    """A table has these rows: each has both words."""
    for words in rows:
        row = page.locator("main tbody tr").filter(has_text=words[0]).filter(has_text=words[1])
        await expect(row).to_have_count(1)


@pytest.mark.gen_test
async def test_lists_have_the_rows_of_both_nodes(chromium: Browser, nodes: ClusterServers) -> None:
    for node in nodes.nodes.values():
        console = Console(chromium, node)
        async with console.page("/connections", bearer=ADMIN) as page:
            await shows(page, ("ann", "n1"), ("bob", "n2"))
            await page.get_by_label("All nodes").select_option("n2")
            await expect(page.locator("main tbody tr", has_text="ann")).to_have_count(0)
            await shows(page, ("bob", "n2"))
            await console.open(page, "/users")
            await shows(page, ("ann", "1"), ("bob", "1"))
            await console.open(page, "/sessions")
            await shows(page, ("both", "2"))
            await console.open(page, "/sessions/both")
            for user in ("ann", "bob"):
                await expect(page.locator("main").get_by_role("link", name=user)).not_to_have_count(
                    0
                )
            await console.open(page)
            for name in ("n1", "n2"):
                await expect(page.get_by_role("row", name=name)).to_contain_text("up")


@pytest.mark.gen_test
async def test_a_node_that_does_not_answer_is_named_on_every_list(
    chromium: Browser, nodes: ClusterServers, valkey: ValkeyProcess
) -> None:
    console = Console(chromium, nodes.nodes["n1"])
    with without_messages(valkey):
        async with console.page("/connections", bearer=ADMIN) as page:
            note = page.locator("main .problem", has_text="No answer from n2")
            await expect(note).to_be_visible()
            await shows(page, ("ann", "n1"))
            await expect(page.locator("main tbody tr", has_text="bob")).to_have_count(0)
            for path in ("/users", "/sessions", "/sessions/both"):
                await console.open(page, path)
                await expect(note).to_be_visible()
            await console.open(page)
            await expect(page.locator("main")).to_contain_text("n2 does not answer")
