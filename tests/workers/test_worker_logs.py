"""Log records of a worker show its number."""

from __future__ import annotations

import json
import logging

from wsserver.logs import JsonFormatter, TextFormatter
from wsserver.redaction import Redactor


def record() -> logging.LogRecord:
    return logging.LogRecord("wsserver.app", logging.INFO, "", 1, "stopped code=%d", (3,), None)


def test_records_of_a_worker_have_its_number() -> None:
    document = json.loads(JsonFormatter(Redactor(()), 2).format(record()))
    assert (document["event"], document["code"], document["worker"]) == ("stopped", 3, 2)
    assert "INFO [2] wsserver.app: stopped" in TextFormatter(Redactor(()), 2).format(record())


def test_records_of_a_single_process_have_none() -> None:
    assert "worker" not in json.loads(JsonFormatter(Redactor(())).format(record()))
    assert "INFO wsserver.app: stopped" in TextFormatter(Redactor(())).format(record())
