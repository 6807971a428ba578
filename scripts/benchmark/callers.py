"""A bridge to a messenger: reports what contacts write, at a steady rate."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit

from scripts.benchmark.http_client import HttpClient, RequestError

ACCOUNT = "bench"
KEY = "of-a-benchmark-only"
PATH = f"/intake/webhook/{ACCOUNT}?key={KEY}"
CONTACTS = 200
CONNECTIONS = 32
"""Callbacks that are unanswered at the same time, at most."""
_TEXT = "When will my parcel arrive? The number is 1Z999AA10123456784."


async def report(url: str, rate: float, seconds: float) -> dict[str, Any]:
    """Post callbacks; return how many were sent and refused, and times until the answers in µs.

    The time begins when a callback is due, so that one that waits for a connection is late.
    """
    port = urlsplit(url).port or 0
    count = int(rate * seconds)
    numbers = iter(range(count))
    micros: list[int] = []
    faults: list[str] = []
    began_ns = time.monotonic_ns()

    async def post() -> None:
        async with HttpClient(port) as client:
            for number in numbers:
                due_ns = began_ns + int(number / rate * 1e9)
                await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
                try:
                    await client.post(PATH, callback(number))
                except RequestError as error:
                    faults.append(str(error))
                else:
                    micros.append((time.monotonic_ns() - due_ns) // 1000)

    await asyncio.gather(*(post() for _ in range(CONNECTIONS)))
    elapsed_s = (time.monotonic_ns() - began_ns) / 1e9
    return {"sent": count, "seconds": elapsed_s, "micros": micros, "faults": faults[:3]}


def callback(number: int) -> bytes:
    """A message, of each contact in turn."""
    contact = f"contact-{number % CONTACTS}"
    body = {"type": "message", "id": f"m-{number}", "contact": contact, "content": _TEXT}
    return json.dumps(body).encode()
