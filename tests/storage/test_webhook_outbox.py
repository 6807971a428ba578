"""Webhook events that wait, in the table ``webhook_outbox``."""

from __future__ import annotations

import pytest

from wsserver.storage.engine.database import Database
from wsserver.storage.tables.webhooks import Posting, WebhookOutbox

URL = "https://example.com/hook"


@pytest.mark.gen_test
async def test_events_are_added_again_with_later_ones_after_an_unknown_outcome(
    database: Database,
) -> None:
    outbox = WebhookOutbox(database)
    first, second = (Posting(f"hook_{n}", URL, "user_connected", b"{}", 1.0) for n in range(2))
    await outbox.add([first])
    await outbox.add([first, second])
    assert await outbox.waiting() == [(URL, 2, 4)]
