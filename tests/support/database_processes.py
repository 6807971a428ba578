"""Other processes that share a database, as ``SqlLeases`` enters and removes them."""

from __future__ import annotations

from wsserver.storage.engine.database import Database


async def enter_process(database: Database, process: str) -> None:
    """A process that lives."""
    await database.run(
        lambda db: db.execute("INSERT INTO processes (id, beat) VALUES (?, 1)", [process]).rowcount
    )


async def remove_process(database: Database, process: str) -> None:
    """A process that has left, or is lost."""
    await database.run(
        lambda db: db.execute("DELETE FROM processes WHERE id = ?", [process]).rowcount
    )
