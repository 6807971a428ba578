"""URLs of Redis: what is read from them, and every fault of those that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from wsserver.addresses.redis import RedisAddress, RedisUrlFaulty, parse_redis_url


@pytest.mark.parametrize(
    ("url", "address", "location"),
    [
        ("redis://h", RedisAddress((("h", 6379),)), "redis://h:6379"),
        (
            "redis://u:p%40%2F@[::1]:7/3",
            RedisAddress((("::1", 7),), database=3, username="u", password="p@/"),
            "redis://[::1]:7",
        ),
        ("redis://:p@h", RedisAddress((("h", 6379),), password="p"), "redis://h:6379"),
        (
            "rediss://h?ssl_ca_certs=/ca&ssl_cert_reqs=none&username=u&password=p&db=4",
            RedisAddress(
                (("h", 6379),),
                database=4,
                username="u",
                password="p",
                tls={
                    "ssl_ca_certs": "/ca",
                    "ssl_cert_reqs": "none",
                    "ssl_check_hostname": False,
                },
            ),
            "rediss://h:6379",
        ),
        (
            "unix:///run/a.sock?db=2",
            RedisAddress(path="/run/a.sock", database=2),
            "unix:///run/a.sock",
        ),
        (
            "redis+sentinel://u:p@a:1,b/main/2?sentinel_username=x&sentinel_password=y",
            RedisAddress(
                (("a", 1), ("b", 26379)),
                primary="main",
                database=2,
                username="u",
                password="p",
                sentinel_username="x",
                sentinel_password="y",
            ),
            "redis+sentinel://a:1,b:26379/main",
        ),
        (
            "REDISS+sentinel://a/main",
            RedisAddress((("a", 26379),), primary="main", tls={}),
            "rediss+sentinel://a:26379/main",
        ),
    ],
)
def test_what_a_url_says(url: str, address: RedisAddress, location: str) -> None:
    found = parse_redis_url(url)
    assert (found, found.location) == (address, location)
    assert "p@/" not in repr(found)


HOST = "must name a host (IPv6 in brackets)"
PORT = "must have a port of 1 to 65535"
NUMBER = "must have a number as its database"


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("redis://", [HOST]),
        ("redis://secret-host?", None),
        ("redis://h:0", [PORT]),
        ("redis://h:", [PORT]),
        ("redis://::1", [HOST]),
        ("redis://h:x/secret", [PORT, NUMBER]),
        ("redis://:secret/more@h", [PORT, HOST, NUMBER]),
        ("redis://a,b", ["names several hosts: only redis+sentinel:// takes them"]),
        ("redis://h?ssl_ca_certs=/ca", ["has ssl_… parameters, which need rediss://"]),
        ("rediss://h?ssl_certfile=/c", ["must have both ssl_certfile and ssl_keyfile, or neither"]),
        ("rediss://h?ssl_cert_reqs=what", ["must have one of required, none in ssl_cert_reqs"]),
        ("redis://u:secret#x@h", ["must have no #; write %23 for one in a password", PORT]),
        ("unix://h/path", ["must have an absolute path: unix:///run/redis/redis.sock"]),
        ("unix://", ["must have an absolute path: unix:///run/redis/redis.sock"]),
        (
            "redis+sentinel://a:1",
            ["must name the primary as its path: redis+sentinel://HOST:PORT/NAME"],
        ),
        ("redis://h secret", ["must be a URL without blanks or control characters"]),
        ("redis://h?db=1&db=2", ["has a parameter twice"]),
    ],
)
def test_every_fault_is_named_and_nothing_quoted(url: str, faults: list[str] | None) -> None:
    if faults is None:
        parse_redis_url(url)
        return
    with pytest.raises(RedisUrlFaulty) as found:
        parse_redis_url(url)
    assert list(found.value.messages) == faults
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("url", ["", "x", "http://h", "redis:h", "redis://[::1", "redis:/h"])
def test_something_else(url: str) -> None:
    with pytest.raises(RedisUrlFaulty, match="must be a URL like redis://"):
        parse_redis_url(url)


def test_an_unknown_parameter_is_not_quoted() -> None:
    with pytest.raises(RedisUrlFaulty, match="has unknown parameters \\(1\\)") as found:
        parse_redis_url("redis://u:pa?secret@h")
    assert "secret" not in str(found.value)


def test_files_of_tls() -> None:
    files: list[Any] = parse_redis_url("rediss://h?ssl_certfile=/c&ssl_keyfile=/k").files
    assert files == [("ssl_certfile", "/c"), ("ssl_keyfile", "/k")]
