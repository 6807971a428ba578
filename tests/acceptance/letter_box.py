"""Runs a server whose e-mail goes into a file, in the place of a provider that a test can break.

``python letter_box.py FOLDER python -m wsserver serve …``. Each e-mail is a line of ``letters`` in
the folder. A file ``down`` there: the provider is down; ``die``: the process is killed right after
having sent one, before it can say so.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

from wsserver.notifications.channels.base import Job, Limits, Outcome, retry, sent
from wsserver.notifications.notification_queue import NotificationQueue
from wsserver.notifications.service import NotificationService
from wsserver.protocol.notifications import ChannelName, Contact


class LetterBox:
    name: ChannelName = "email"
    limits = Limits(4, 1000.0, 10.0)
    is_configured = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has_address(self, contact: Contact) -> bool:
        return contact.email is not None

    async def send(self, job: Job) -> Outcome:
        if (self.folder / "down").exists():
            return retry("421 out for lunch")
        with (self.folder / "letters").open("a") as letters:
            line = {"delivery_id": job.delivery_id, "to": job.contact.email, "title": job.title}
            letters.write(json.dumps(line) + "\n")
        die = self.folder / "die"
        if die.exists():
            die.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return sent("250 taken")

    async def close(self) -> None:
        pass


def with_letter_box(kind: Any, box: LetterBox) -> None:
    begin = kind.__init__

    def init(self: Any, **parts: Any) -> None:
        begin(self, **{**parts, "channels": {**parts["channels"], "email": box}})

    kind.__init__ = init


if __name__ == "__main__":
    letter_box = LetterBox(Path(sys.argv[1]))
    for each in (NotificationQueue, NotificationService):
        with_letter_box(each, letter_box)
    # What follows is: python -m wsserver serve …
    sys.argv = sys.argv[4:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
