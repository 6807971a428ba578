"""A server of S3 (moto) on a free port, with credentials in the environment."""

from __future__ import annotations

import itertools
import os
from types import TracebackType
from typing import Any, Self

import boto3
from moto.server import ThreadedMotoServer

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class ObjectStore:
    """``with ObjectStore() as store``: runs in a thread of this process."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._before: dict[str, str | None] = {}
        self._numbers = itertools.count()
        self.url = ""

    def __enter__(self) -> Self:
        self._before = {name: os.environ.get(name) for name in CREDENTIALS}
        os.environ.update(CREDENTIALS)
        self._server.start()
        self.url = "http://{}:{}".format(*self._server.get_host_and_port())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    @property
    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1")

    def new_bucket(self) -> str:
        """A ``file_store_url`` of a new bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.client.create_bucket(Bucket=name)
        return f"s3://{name}/chat/files?endpoint={self.url}&region=us-east-1"

    def keys(self, url: str) -> list[str]:
        """The objects of a bucket, and the uploads to it that are not complete."""
        bucket = url.removeprefix("s3://").partition("/")[0]
        found = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        begun = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [each["Key"] for each in (*found, *begun)]
