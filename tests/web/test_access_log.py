"""Access log: sampling, failures only, routine answers at debug level."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.web_server import Server, token
from wsserver.web.api.access_log import AccessLog
from wsserver.web.http.traffic import Traffic


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[tuple[int, str]]]]:
    """Level and status of what has been logged since the last call."""

    def take() -> list[tuple[int, str]]:
        found = [
            (each.levelno, str(each.args[2]))
            for each in caplog.records
            if each.name == "wsserver.web.access" and isinstance(each.args, tuple)
        ]
        caplog.clear()
        return found

    with caplog.at_level(logging.DEBUG, "wsserver.web.access"):
        yield take


def answer(access_log: AccessLog, *statuses: int) -> None:
    for status in statuses:
        access_log.answered("GET", "/x", "/x", status, 0.001, "127.0.0.1", "req_1")


def test_a_share_is_logged_and_every_fault(logged: Callable[[], list[tuple[int, str]]]) -> None:
    traffic = Traffic()
    draws = iter([0.05, 0.2, 0.09, 0.1])
    sampled = AccessLog(traffic, sample=0.1, draw=lambda: next(draws))
    answer(sampled, 200, 101, 302, 200, 400, 404, 500)
    assert [status for _, status in logged()] == ["200", "302", "400", "404", "500"]
    answer(AccessLog(traffic, sample=0.0), 200, 403)
    assert [status for _, status in logged()] == ["403"]
    answer(AccessLog(traffic, is_on=False), 200, 404, 503)
    assert [status for _, status in logged()] == ["503"]
    assert sum(traffic.answered.values()) == 12  # counted all the same


def test_every_record_is_as_logging_makes_it(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("wsserver.web.access")
    access_log = AccessLog(Traffic())
    with caplog.at_level(logging.INFO, log.name):
        answer(access_log, 200, 404)
        args = caplog.records[1].args
        assert isinstance(args, tuple)
        made = log.makeRecord(
            log.name,
            logging.INFO,
            caplog.records[0].pathname,
            0,
            str(caplog.records[0].msg),
            args,
            None,
        )
    times = {"created", "msecs", "relativeCreated", "taskName"}
    for record in caplog.records:
        assert vars(record).keys() | times == vars(made).keys() | times | {"message"}
    first, second = (vars(each) for each in caplog.records)
    assert {k: v for k, v in second.items() if k not in times | {"message"}} == {
        k: v for k, v in vars(made).items() if k not in times
    }
    assert second["created"] >= first["created"]
    passed_ms = second["relativeCreated"] - first["relativeCreated"]
    assert passed_ms == pytest.approx((second["created"] - first["created"]) * 1000, abs=0.01)


def test_a_factory_of_records_is_used(caplog: pytest.LogCaptureFixture) -> None:
    class Marked(logging.LogRecord):
        pass

    access_log = AccessLog(Traffic())
    with caplog.at_level(logging.INFO, "wsserver.web.access"):
        answer(access_log, 200)
        logging.setLogRecordFactory(Marked)
        try:
            answer(access_log, 200)
        finally:
            logging.setLogRecordFactory(logging.LogRecord)
    assert [isinstance(each, Marked) for each in caplog.records] == [False, True]


@pytest.mark.gen_test
async def test_settings_reach_both_ways_of_serving(
    start_server: Callable[..., Any], logged: Callable[[], list[tuple[int, str]]]
) -> None:
    for settings in ({"access_log": False}, {"access_log_sample": 0.0}):
        server = await start_server(**settings)
        for extra in ({}, {"Upgrade": "x"}):
            assert (await server.request("GET", "/api/v1/docs", headers=extra)).status == 200
            await server.request("GET", "/nowhere", headers=extra)
        expected = [] if "access_log" in settings else ["404", "404"]
        assert [status for _, status in logged()] == expected


@pytest.mark.gen_test
async def test_words_of_an_answer_are_logged_at_debug_only(
    server: Server, logged: Callable[[], list[tuple[int, str]]]
) -> None:
    word = {
        "type": "ai_processing_status",
        "session_id": "s1",
        "status": "streaming",
        "delta": "w",
    }
    news = {"type": "news", "data": 1}
    target = {"target": {"type": "session", "id": "s1"}}
    bearer = {"bearer": token("ai", "service")}
    for path, body in (
        ("/sessions/s1/messages", word),
        ("/messages", {**word, **target}),
        ("/messages/batch", {"messages": [{**word, **target}]}),
    ):
        assert (await server.post(path, **body, **bearer)).status == 200
        assert logged() == [(logging.DEBUG, "200")]
    assert (await server.post("/sessions/s1/messages", **{**word, "delta": 5})).status == 422
    others: list[tuple[str, dict[str, Any]]] = [
        ("/sessions/s1/messages", news),
        ("/messages/batch", {"messages": [{**word, **target}, {**news, **target}]}),
        ("/messages/batch", {"messages": [{"type": ["typing"]}]}),
    ]
    for path, body in others:
        assert (await server.post(path, **body, **bearer)).status == 200
    assert [level for level, _ in logged()] == [logging.INFO] * 4
