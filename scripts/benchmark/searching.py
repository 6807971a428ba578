"""Measures the search index: how fast it is built, and how fast queries are answered.

    python -m scripts.benchmark.searching --messages 1000000
    python -m scripts.benchmark.searching --messages 50000 --url postgresql://…

A SQLite file in a temporary folder, or an empty PostgreSQL database. Half of the messages are
Chinese, half English; queries are for frequent, rare and absent words, of two characters and more,
in all sessions and in some.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from wsserver.clock import Clock
from wsserver.paging import LARGEST_INT
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.messages.search import Query, SearchStore
from wsserver.storage.messages.search_text import terms_of
from wsserver.storage.messages.streams import Append, StreamStore

SESSIONS = 5000
BATCH = 1000
QUERIES = 400
PAGE = 20
ENGLISH = [
    "the",
    "order",
    "has",
    "not",
    "arrived",
    "yet",
    "please",
    "tell",
    "me",
    "when",
    "it",
    "will",
    "be",
    "delivered",
    "thank",
    "you",
    "for",
    "your",
    "help",
    "with",
    "my",
    "account",
    "payment",
    "failed",
    "again",
    "today",
    "tomorrow",
    "refund",
    "broken",
    "screen",
    "price",
    "of",
    "this",
    "product",
    "return",
    "policy",
    "how",
    "long",
    "does",
    "shipping",
    "take",
    "is",
    "there",
    "a",
    "discount",
    "for",
    "students",
    "hello",
]
CHINESE = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种"
    "面而方后多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把"
    "性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气"
)
WANTED = (
    *("refund", "order", "the", "ok", "re", "payment failed", "broken screen", "zebra"),
    *("discount students", "thank you for your help with my account", "12345", "xyzzy"),
    *("退款", "中国", "的一", "我们", "产品质量", "什么时候", "不存在的词", "电力"),
)


def messages(count: int, chance: random.Random, now: float) -> Iterator[Append]:
    """Messages of some words or characters; now and then a rare word or a number."""
    for number in range(count):
        if number % 2:
            words = chance.choices(ENGLISH, k=chance.randint(3, 18))
            if not number % 501:
                words.append(chance.choice(["zebra", str(number)]))
            text = " ".join(words)
        else:
            text = "".join(chance.choices(CHINESE, k=chance.randint(4, 40)))
            if not number % 500:
                text += chance.choice(["退款", "产品质量", "什么时候"])
        session_id = f"s{chance.randrange(SESSIONS)}"
        push = {"type": "new_message", "session_id": session_id, "message": {"content": text}}
        payload = json.dumps(push, ensure_ascii=False).encode()
        stream, id_ = f"session:{session_id}", f"msg_{number}"
        yield Append(stream, id_, "new_message", payload, now, now + 9e9)


async def fill(store: StreamStore, index: SearchStore, count: int) -> tuple[float, float]:
    """Store and index messages; seconds of either."""
    chance = random.Random(7)  # noqa: S311 - the same each time
    now = time.time()
    stored_s = indexed_s = 0.0
    batch: list[Append] = []
    for message in messages(count, chance, now):
        batch.append(message)
        if len(batch) == BATCH:
            began = time.monotonic()
            await store.append(batch)
            stored_s += time.monotonic() - began
            batch = []
            began = time.monotonic()
            while await index.index():
                pass
            indexed_s += time.monotonic() - began
    return stored_s, indexed_s


async def ask(index: SearchStore) -> dict[str, list[float]]:
    """Milliseconds of each query, by what it was about."""
    chance = random.Random(8)  # noqa: S311 - the same each time
    took: dict[str, list[float]] = {"in all sessions": [], "in 20 sessions": [], "next pages": []}
    for number in range(QUERIES):
        terms = terms_of(WANTED[number % len(WANTED)])
        some = [f"s{chance.randrange(SESSIONS)}" for _ in range(20)]
        before: int | None = LARGEST_INT
        for name, sessions in (
            ("in all sessions", None),
            ("in 20 sessions", some),
            ("next pages", None),
        ):
            query = Query(terms, sessions, before or LARGEST_INT, time.time(), PAGE)
            began = time.monotonic()
            hits = await index.find(query)
            took[name].append((time.monotonic() - began) * 1000)
            if name == "in all sessions":
                before = hits.rest
    return took


async def measure(database: Database, count: int) -> None:
    """Fill a database, ask, and print the figures."""
    await database.open()
    try:
        store, index = StreamStore(database), SearchStore(database)
        await index.begin()
        while await index.prepare():
            pass
        stored_s, indexed_s = await fill(store, index, count)
        print(f"stored   {count / stored_s:10,.0f} messages a second")
        print(f"indexed  {count / indexed_s:10,.0f} messages a second")
        for name, values in (await ask(index)).items():
            ordered = sorted(values)
            p99 = ordered[int(len(ordered) * 0.99)]
            print(f"{name:16} p50 {median(values):7.1f} ms   p99 {p99:7.1f} ms")
    finally:
        await database.close()


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the search in messages.")
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--url", metavar="URL", help="an empty PostgreSQL database")
    return parser.parse_args(words)


def main() -> int:
    """Run."""
    arguments = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        database: Database
        if arguments.url is not None:
            database = PostgresDatabase(arguments.url, clock=Clock())
        else:
            database = SqliteDatabase(Path(folder) / "search.sqlite3", clock=Clock())
        asyncio.run(measure(database, arguments.messages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
