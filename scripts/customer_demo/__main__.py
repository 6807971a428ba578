"""The command: starts partners and server, lets the conversation run, and ends everything."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from scripts.customer_demo.clients import Api, StepFailed
from scripts.customer_demo.partners import APP_ID, Assistant, Delivered, Messenger
from scripts.customer_demo.shop import ORGANIZATION, Shop, ShopFailed
from scripts.customer_demo.story import CONTACT, NAME, SESSION, Story

PATIENCE_S = 30.0
PAUSE_S = 2.0
WORD_S = 0.2
FAST_WORD_S = 0.02


def main() -> int:
    """Run the demo; returns 1 if a step fails or the server does not start."""
    arguments = parse(sys.argv[1:])
    try:
        asyncio.run(run(arguments.port, is_once=arguments.once, patience_s=arguments.patience))
    except (StepFailed, ShopFailed) as failed:
        print(f"scripts/demo: {failed}", file=sys.stderr, flush=True)
        return 1
    return 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="A customer writes in a simulated WeChat, a simulated AI answers word by word,"
        " a person takes over, and the answers go back to WeChat. Everything is on loopback, and is"
        " deleted at the end.",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="run through without pauses; exit status 1 if a step fails",
    )
    parser.add_argument("--port", type=int, default=0, metavar="P", help="of the server (any)")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_S,
        metavar="S",
        help=f"how long a step may take ({PATIENCE_S:g})",
    )
    arguments = parser.parse_args(words)
    if not 0 <= arguments.port <= 65_535:
        parser.error(f"argument --port: {arguments.port} is not between 0 and 65535")
    return arguments


async def run(port: int, *, is_once: bool, patience_s: float) -> None:
    """Start everything, and run the conversation; without ``is_once`` go on until a signal comes.

    Raises ``StepFailed`` or ``ShopFailed``; nothing is left running then.
    """
    ended = asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(ending, ended.set)
    folder = Path(tempfile.mkdtemp(prefix="wsserver-demo-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        shop = Shop(folder, port)
        telling = Telling()
        messenger = Messenger(shop.token, telling.arrived)
        assistant = Assistant(shop.api_key, FAST_WORD_S if is_once else WORD_S)
        for partner in (messenger, assistant):
            partner.start()
            stack.push_async_callback(partner.stop)
        stack.push_async_callback(shop.stop)
        await shop.start(assistant.url, messenger.url, APP_ID)
        messenger.callback = shop.callback
        if not is_once:
            print(await _text(shop), flush=True)
        story = Story(
            shop,
            messenger,
            assistant,
            say=telling.say,
            pause_s=0.0 if is_once else PAUSE_S,
            patience_s=patience_s,
        )
        telling_of = asyncio.ensure_future(story.run())
        await _first(telling_of, ended)
        if is_once or ended.is_set():
            return
        assistant.answers = assistant.answers[:1]
        await story.give_back()
        print(f"\nWrite as {NAME}, a line each; Ctrl-C ends and deletes everything.", flush=True)
        await _first(asyncio.ensure_future(_write_lines(messenger)), ended)
        await ended.wait()


async def _first(work: asyncio.Future[None], ended: asyncio.Event) -> None:
    """Wait for some work, or until the event; raises what the work does."""
    waiting = asyncio.ensure_future(ended.wait())
    both: list[asyncio.Future[None] | asyncio.Future[Literal[True]]] = [work, waiting]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not work.done():
        work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def _write_lines(messenger: Messenger) -> None:
    """Let the customer write what is typed, until the input ends."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        line = "begin"
        while line:
            line = sys.stdin.readline()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(lines.put_nowait, line)

    threading.Thread(target=read, daemon=True).start()  # ends with the program
    while line := await lines.get():
        if text := line.strip():
            await messenger.write(CONTACT, NAME, text)


async def _text(shop: Shop) -> str:
    """Where to look: pages of the console with a login, for a browser of one's own."""
    claims = {"sessions": "*", "username": "Dana", "organization_id": ORGANIZATION}
    operator = Api(shop.url, shop.sign("dana", "admin", **claims))
    first, second = [(await operator.call("POST", "/tickets", {}))["ticket"] for _ in range(2)]
    return "\n".join(
        (
            "",
            "The server runs, with a simulated WeChat account and a simulated AI. In a browser:",
            "",
            f"  conversation  {shop.url}/console/sessions/{SESSION}#ticket={first}",
            f"  chat          {shop.url}/console/chat#ticket={second}",
            f"  log           {shop.folder / 'server.log'}",
            "",
        )
    )


class Telling:
    """Prints what happens, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, who: str, what: str) -> None:
        """Print a line."""
        print(f"{time.monotonic() - self._began:5.1f} s  {who:<13} {what}", flush=True)

    def arrived(self, delivered: Delivered) -> None:
        """A text arrived in the messenger."""
        self.say("WeChat", f"shows {NAME}: {delivered.text.strip()}")


if __name__ == "__main__":
    sys.exit(main())
