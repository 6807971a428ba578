"""Runs a server with an e-mail channel that writes to a file, and that a test can break.

``python mail_file.py FOLDER python -m wsserver serve …``. Each e-mail is a line of ``letters`` in
the folder. A file ``down`` there makes the channel fail; ``die`` kills the process after the next
e-mail is written and before its result is recorded.
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


class MailFile:
    """The e-mail channel."""

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


def install(kind: Any, channel: MailFile) -> None:
    """Make the constructor of a class use this e-mail channel."""
    begin = kind.__init__

    def init(self: Any, **parts: Any) -> None:
        begin(self, **{**parts, "channels": {**parts["channels"], "email": channel}})

    kind.__init__ = init


if __name__ == "__main__":
    mail_file = MailFile(Path(sys.argv[1]))
    for each in (NotificationQueue, NotificationService):
        install(each, mail_file)
    # What follows is: python -m wsserver serve …
    sys.argv = sys.argv[4:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
