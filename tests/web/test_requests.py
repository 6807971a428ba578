"""HTTP requests: valid and invalid methods, headers and bodies, and the answers."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct

import pytest

from tests.support.waiting import PATIENCE_S
from tests.support.web_server import API, Server, StartServer, read_response, token
from wsserver.web.resources.routes import by_path

BROADCAST = {"type": "hint", "data": 1}


# Paths and methods


@pytest.mark.gen_test
async def test_an_unknown_path_is_a_problem_document(server: Server) -> None:
    for path in ("/nowhere", f"{API}/messages/m1"):
        answer = await server.request("GET", path, bearer=token())
        assert (answer.status, answer.code) == (404, "not_found"), path


@pytest.mark.gen_test
async def test_each_path_names_its_methods(server: Server) -> None:
    for path, endpoints in by_path().items():
        concrete = path.replace("{connection_id}", "x").replace("{user_id}", "x")
        concrete = concrete.replace("{session_id}", "x")
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND", "TRACE"):
            if method in endpoints:
                continue
            answer = await server.request(method, concrete, bearer=token())
            assert (answer.status, answer.code) == (405, "method_not_allowed"), (method, path)
            allowed = answer.headers["allow"].split(", ")
            assert set(allowed) >= set(endpoints), path
            assert method not in allowed


@pytest.mark.gen_test
async def test_odd_methods_reach_no_code(server: Server) -> None:
    for method in ("PREPARE", "FINISH", "__CLASS__", "CLEAR"):
        answer = await server.request(method, f"{API}/stats", bearer=token())
        assert answer.status in (400, 405), method


@pytest.mark.gen_test
async def test_head_is_get_without_the_body(server: Server) -> None:
    answer = await server.request("HEAD", f"{API}/stats", bearer=token())
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 100
    assert (await server.request("HEAD", f"{API}/stats")).status == 401
    assert (await server.request("HEAD", f"{API}/broadcast")).status == 405


@pytest.mark.gen_test
async def test_options_says_what_is_allowed(server: Server) -> None:
    answer = await server.request("OPTIONS", f"{API}/connections/c1")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "id",
    [
        "%00",
        ".",
        "..",
        "%2e%2E",
        "..%2f",
        "x" * 300,
        "%D9%A1%D9%A2",
        "a%20b",
        "a%0a",
        "%ff",
        "%C3%28",
        "a;b",
        "a%25",
        "",
    ],
)
@pytest.mark.gen_test
async def test_a_malformed_id_in_the_path_is_named(server: Server, id: str) -> None:
    for method, path in (
        ("GET", f"{API}/users/{id}/connections"),
        ("GET", f"{API}/sessions/{id}/members"),
        ("GET", f"{API}/connections/{id}"),
    ):
        answer = await server.request(method, path, bearer=token())
        assert (answer.status, answer.code) == (400, "bad_request"), (method, path)


# Tokens


@pytest.mark.gen_test
async def test_a_token_comes_in_one_authorization_header(server: Server) -> None:
    good = token()
    missing = await server.request("GET", f"{API}/stats")
    assert (missing.status, missing.code) == (401, "token_missing")
    assert missing.headers["www-authenticate"] == "Bearer"
    for value in ("Basic YTpi", "Bearer", "Bearer ", f"Bearer {good} x", f"Token {good}", good):
        answer = await server.request("GET", f"{API}/stats", headers={"Authorization": value})
        assert (answer.status, answer.code) == (401, "token_invalid"), value
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    head = f"GET {API}/stats HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    line = f"Authorization: Bearer {good}\r\n"
    twice = await server.raw(f"{head}{line}{line}\r\n".encode())
    assert (twice.status, twice.code) == (400, "auth_ambiguous")
    query = await server.request("GET", f"{API}/stats?token={good}")
    assert query.status == 401
    assert (await server.get(f"/stats?token={good}")).code == "bad_request"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": "99999999999"},
        {"exp": 10**400},
        {"exp": True},
        {"sub": ""},
        {"sub": 1},
        {"iss": ["a"]},
        {"sessions": "s1"},
        {"permissions": "all"},
    ],
    ids=str,
)
@pytest.mark.gen_test
async def test_odd_claims_are_an_invalid_token(server: Server, claims: dict[str, object]) -> None:
    answer = await server.get("/stats", bearer=token(**{"sub": "a", **claims}))  # type: ignore[arg-type]
    assert (answer.status, answer.code) == (401, "token_invalid")


@pytest.mark.gen_test
async def test_an_expired_and_a_revoked_token(server: Server) -> None:
    expired = await server.get("/stats", bearer=token(exp=1_000_000_000))
    assert (expired.status, expired.code) == (401, "token_expired")
    doomed = token("someone", "admin", jti="j1")
    assert (await server.get("/stats", bearer=doomed)).status == 200
    assert (await server.post("/tokens/revoke", jti="j1")).json() == {
        "jti": "j1",
        "disconnected": 0,
    }
    revoked = await server.get("/stats", bearer=doomed)
    assert (revoked.status, revoked.code) == (401, "token_revoked")


# Host and Origin


@pytest.mark.gen_test
async def test_a_foreign_host_is_refused(server: Server) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil"):
        answer = await server.get("/stats", headers={"Host": host})
        assert (answer.status, answer.code) == (403, "host_forbidden"), host
    for path in (f"{API}/health", "/metrics"):
        answer = await server.request("GET", path, headers={"Host": "evil.example"})
        assert answer.status == 200, path
    assert (await server.get("/stats", headers={"Host": "localhost:1"})).status == 200


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://127.0.0.1.evil", "x"])
@pytest.mark.gen_test
async def test_a_foreign_origin_is_refused(server: Server, origin: str) -> None:
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    answer = await server.get("/stats", headers=headers)
    assert (answer.status, answer.code) == (403, "origin_forbidden")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.gen_test
async def test_a_page_of_an_allowed_origin_may_fetch_a_ticket(start_server: StartServer) -> None:
    server = await start_server(allowed_origins=("https://app.example.com",))
    origin = {"Origin": "https://app.example.com"}
    asked = {
        **origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    preflight = await server.request("OPTIONS", f"{API}/tickets", headers=asked)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    answer = await server.post("/tickets", headers=origin)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert answer.headers["vary"] == "Origin"
    refused = await server.request("POST", f"{API}/tickets", headers=origin)
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example.com"
    for other in ("https://app.example.com.evil", "http://app.example.com", "null"):
        evil = await server.request("OPTIONS", f"{API}/tickets", headers={**asked, "Origin": other})
        assert evil.status == 403, other
        assert "access-control-allow-origin" not in evil.headers


# Request ids


@pytest.mark.gen_test
async def test_the_request_id_is_echoed_everywhere(server: Server) -> None:
    for path in (f"{API}/health", "/nowhere", f"{API}/stats", "/"):
        answer = await server.request("GET", path, headers={"X-Request-ID": "abc-1"})
        assert answer.headers["x-request-id"] == "abc-1", path


@pytest.mark.parametrize("given", ["x" * 128, "!#$%&()*+,-./:;<>?@[]^_`{|}~", "4bf92f35-77b3"])
@pytest.mark.gen_test
async def test_visible_characters_are_echoed(server: Server, given: str) -> None:
    answer = await server.request("GET", f"{API}/health", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["a b", "x status=200", "id=7", '"x"', "it's"])
@pytest.mark.gen_test
async def test_a_request_id_cannot_pretend_to_be_another_field_of_a_log_line(
    server: Server, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await server.request("GET", f"{API}/stats", headers={"X-Request-ID": given})
    made = answer.headers["x-request-id"]
    assert made.startswith("req_")
    assert answer.json()["request_id"] == made
    (line,) = [r.getMessage() for r in caplog.records if "path=/api" in r.getMessage()]
    assert line.endswith(f" request_id={made}")
    assert given not in line


@pytest.mark.parametrize("given", ["x" * 129, "a\tb", "é", "\x7f"])
@pytest.mark.gen_test
async def test_an_odd_request_id_is_replaced(server: Server, given: str) -> None:
    head = f"GET {API}/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-ID: {given}\r\n\r\n"
    answer = await server.raw(head.encode("latin-1"))
    if answer.status == 200:  # some are no header at all to Tornado
        assert answer.headers["x-request-id"].startswith("req_")


# Bodies


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b'{"type": "hint", "data": NaN}', 400, "bad_json"),
        (b'{"type": "hint", "data": 1e400}', 400, "bad_json"),
        (b'{"type": "hint", "type": "hint"}', 400, "bad_json"),
        (b'{"type": "hint", "data": "\\ud800"}', 400, "bad_unicode"),
        (b'{"type": "hint", "data": "\xff"}', 400, "bad_unicode"),
        (b'{"type": "hint", "data": ' + b"[" * 33 + b"]" * 33 + b"}", 400, "too_deep"),
        (b"[" * 100_000, 400, "too_deep"),
        (b"[]", 422, "validation_failed"),
        (b"null", 422, "validation_failed"),
        (b"{}", 422, "validation_failed"),
        (b'{"type": "hint", "data": 1, "colour": 2}', 422, "validation_failed"),
        (b'{"type": "Hint"}', 422, "validation_failed"),
        (b'{"type": "connection_established"}', 422, "validation_failed"),
        (b'{"type": "hint", "exclude_users": ["a b"]}', 422, "validation_failed"),
        (b'{"type": "hint", "keep": 1}', 422, "validation_failed"),
        (b'{"type": "hint", "ttl_s": 5}', 422, "validation_failed"),
        (b'{"type": "hint", "keep": true, "ttl_s": 0}', 422, "validation_failed"),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.gen_test
async def test_a_wrong_body(server: Server, body: bytes, status: int, code: str) -> None:
    answer = await server.post("/broadcast", body)
    assert (answer.status, answer.code) == (status, code), answer
    if status == 422:
        assert all(set(each) == {"field", "message"} for each in answer.json()["errors"])


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"'])
@pytest.mark.gen_test
async def test_a_body_that_is_no_object_is_named_as_a_whole(server: Server, body: bytes) -> None:
    answer = await server.post("/broadcast", body)
    document = answer.json()
    assert [each["field"] for each in document["errors"]] == ["body"]
    assert document["detail"].startswith("body: Expected object")


@pytest.mark.gen_test
async def test_a_ticket_needs_no_body(server: Server) -> None:
    for body in (None, b"", b"{}"):
        answer = await server.post("/tickets", body)
        assert set(answer.json()) == {"ticket", "expires_at"}, body
    assert (await server.post("/tickets", b'{"x": 1}')).code == "validation_failed"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ('application/json;charset="utf-8"', 200),
        ("application/vnd.api+json", 200),
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json; charset=gbk", 415),
        ("application/jsonp", 415),
        ("json", 415),
    ],
)
@pytest.mark.gen_test
async def test_the_media_type_counts(server: Server, content_type: str, status: int) -> None:
    headers = {"Content-Type": content_type}
    answer = await server.post("/broadcast", headers=headers, **BROADCAST)
    assert answer.status == status
    if status == 415:
        assert answer.code == "unsupported_media_type"


@pytest.mark.gen_test
async def test_a_compressed_body_is_refused(server: Server) -> None:
    answer = await server.post("/broadcast", headers={"Content-Encoding": "gzip"}, **BROADCAST)
    assert answer.code == "unsupported_media_type"


@pytest.mark.gen_test
async def test_a_body_of_two_megabytes_can_read_its_answer(server: Server) -> None:
    answer = await server.post("/broadcast", b" " * 2_000_000)
    assert (answer.status, answer.code) == (413, "body_too_large")
    # The whole body written before anything is read, as simple clients do.
    answer = await server.post("/messages/batch", b"[" + b" " * 6_000_000)
    assert answer.code == "body_too_large"


@pytest.mark.gen_test
async def test_a_refusal_can_be_read_while_a_large_body_is_sent(server: Server) -> None:
    answer = await server.post("/broadcast", b" " * 3_000_000, bearer="wrong")
    assert answer.code == "token_invalid"
    answer = await server.request("POST", "/nowhere", b" " * 3_000_000)
    assert answer.code == "not_found"


@pytest.mark.gen_test
async def test_exactly_a_megabyte_is_taken(server: Server) -> None:
    frame = b'{"type": "hint", "data": "%s"}'
    body = frame % (b"x" * (1024 * 1024 - len(frame) + 2))
    assert len(body) == 1024 * 1024
    assert (await server.post("/broadcast", body)).status == 200
    assert (await server.post("/broadcast", body + b" ")).status == 413


def chunked(path: str, *chunks: bytes, bearer: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {bearer}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head.encode() + body + b"0\r\n\r\n"


@pytest.mark.gen_test
async def test_a_chunked_body_is_taken_and_bounded(server: Server) -> None:
    good = chunked(f"{API}/broadcast", b'{"type":', b'"hint"}', bearer=token())
    assert (await server.raw(good)).status == 200
    large = chunked(f"{API}/broadcast", *[b" " * 100_000] * 30, bearer=token())
    answer = await server.raw(large)
    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.gen_test
async def test_expect_100_continue_is_answered_before_the_body(server: Server) -> None:
    head = (
        f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 5000000\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    reader, writer = await server.open()
    writer.write(head.encode())
    assert (await read_response(reader)).code == "body_too_large"
    assert await reader.read() == b""  # no 100 after it
    writer.close()


@pytest.mark.gen_test
async def test_an_endless_body_is_cut(server: Server) -> None:
    reader, writer = await server.open()
    head = (
        f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    )
    writer.write(head.encode())
    assert (await read_response(reader)).code == "body_too_large"
    with pytest.raises(ConnectionError):
        await _pour(writer, 1_000_000_000)
    writer.close()


async def _pour(writer: asyncio.StreamWriter, count: int) -> None:
    for _ in range(count // 1_000_000):
        writer.write(b" " * 1_000_000)
        await writer.drain()


@pytest.mark.gen_test
async def test_a_connection_goes_on_after_a_refusal(server: Server) -> None:
    reader, writer = await server.open()
    head = f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n"
    writer.write(head.encode() + b"{}")
    assert (await read_response(reader)).code == "token_missing"
    writer.write(f"GET {API}/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert (await read_response(reader)).status == 200
    writer.close()


# Slow clients


@pytest.mark.gen_test
async def test_a_silent_connection_is_closed(start_server: StartServer) -> None:
    server = await start_server(handshake_timeout_s=0.2)
    reader, writer = await server.open()
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()
    reader, writer = await server.open()
    writer.write(b"GET / HTTP/1.1\r\nHost: 127")
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()


@pytest.mark.gen_test
async def test_a_slow_body_is_answered_with_408(start_server: StartServer) -> None:
    server = await start_server(handshake_timeout_s=0.2)
    reader, writer = await server.open()
    head = (
        f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    writer.write(head.encode())
    answer = await asyncio.wait_for(read_response(reader), PATIENCE_S)
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()
    assert server.context.traffic.under_way == 0


@pytest.mark.gen_test
async def test_a_client_that_keeps_sending_slowly_after_a_refusal_is_cut_off(
    start_server: StartServer,
) -> None:
    server = await start_server(handshake_timeout_s=0.3)
    reader, writer = await server.open()
    head = (
        f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    )
    writer.write(head.encode())
    assert (await read_response(reader)).code == "body_too_large"
    writer.write(b" ")
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()
    assert await server.context.traffic.wait_idle(3)


@pytest.mark.gen_test
async def test_a_client_that_leaves_within_its_body_leaves_nothing(server: Server) -> None:
    for _ in range(3):
        _reader, writer = await server.open()
        head = (
            f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
            f"Content-Type: application/json\r\nAuthorization: Bearer {token()}\r\n\r\n{{"
        )
        writer.write(head.encode())
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()
    assert (await server.get("/stats")).status == 200
    assert await server.context.traffic.wait_idle(3)


# Raw nonsense


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA B: c\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
@pytest.mark.gen_test
async def test_what_is_no_http_ends_the_connection(
    server: Server, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await server.open()
    writer.write(data)
    if writer.can_write_eof():
        writer.write_eof()
    try:
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    except ConnectionResetError:
        answer = b""
    writer.close()
    assert answer == b"" or answer.split()[1] in (b"400", b"403", b"405"), answer
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    assert (await server.get("/stats")).status == 200


@pytest.mark.gen_test
async def test_an_internal_error_says_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("the secret is canary-1")

    server.context.admin_queries.stats = broken
    bearer = token("canary-2")
    answer = await server.get("/stats", bearer=bearer)
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"canary" not in answer.body
    assert "request failed" in caplog.text
    assert bearer not in caplog.text
    assert json.loads(answer.body)["detail"] == "Internal error"


@pytest.mark.gen_test
async def test_a_media_type_given_twice_counts_when_both_agree(server: Server) -> None:
    for second, status in (("application/json", 200), ("text/plain", 415)):
        head = (
            f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 15\r\n"
            f"Authorization: Bearer {token()}\r\nContent-Type: application/json\r\n"
            f"Content-Type: {second}\r\n\r\n"
        )
        assert (await server.raw(head.encode() + b'{"type":"hint"}')).status == status, second


# Bodies where none is meant


@pytest.mark.gen_test
async def test_a_post_without_fields_ignores_none(server: Server) -> None:
    """A filter that is ignored would do it for all."""
    path = "/webhooks/deliveries/retry"
    for body in (None, b"", b"{}"):
        answer = await server.request("POST", f"{API}{path}", bearer=token(), body=body)
        assert (answer.status, answer.json()) == (200, {"retried": 0}), body
    answer = await server.post(path, state="failed", ids=["x"])
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == ["state", "ids"]
    answer = await server.request("POST", f"{API}{path}", bearer=token(), body=b"state=failed")
    assert (answer.status, answer.code) == (400, "bad_json")
    answer = await server.post("/notifications/n1/cancel", channel="sms")
    assert (answer.status, answer.code) == (422, "validation_failed")
