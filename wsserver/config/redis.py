"""The setting ``redis_url``: where Redis or Valkey is, checked without connecting."""

from __future__ import annotations

from pathlib import Path

from wsserver.addresses.redis import RedisUrlFaulty, parse_redis_url
from wsserver.config.channels import require
from wsserver.config.faults import Faulty
from wsserver.config.files import read_key_file


def redis_url(text: str) -> str:
    """Check ``redis_url``; it is never quoted.

    Raises ``Faulty`` with every fault, also if the extra ``redis`` is not installed.
    """
    messages: list[str] = []
    try:
        parse_redis_url(text)
    except RedisUrlFaulty as faulty:
        messages += faulty.messages
    try:
        require("redis")
    except Faulty as faulty:
        messages += faulty.messages
    if messages:
        raise Faulty(*messages)
    return text


def has_password(text: str) -> bool:
    """Whether a checked URL has a password in it."""
    return parse_redis_url(text).password is not None


def check_redis_files(text: str) -> None:
    """Raise ``Faulty`` for files named in a URL that cannot be read."""
    messages = []
    for name, path in parse_redis_url(text).files:
        try:
            read_key_file(Path(path))
        except Faulty as faulty:
            messages += [f"has a file in {name} that {message}" for message in faulty.messages]
    if messages:
        raise Faulty(*messages)
