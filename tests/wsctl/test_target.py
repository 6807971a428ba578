"""Which server and which token: flags, environment, contexts, a development server's files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from tests.support.fake_server import ADMIN, FakeServer, Run
from wsctl.config.contexts import Contexts, Server, contexts_file
from wsctl.errors import BadUsage

SECRET = "s" * 32


def test_contexts_are_kept_used_listed_and_removed(run: Run, server: FakeServer) -> None:
    token = Path("token")
    token.write_text(ADMIN + "\n")
    assert run("context", "add", "a", "--url", server.url, "--token-file", "token").exit_code == 0
    assert run("context", "add", "b", "--url", "http://127.0.0.1:9/").exit_code == 0
    assert contexts_file().stat().st_mode & 0o777 == 0o600
    assert ADMIN not in contexts_file().read_text()
    assert run("stats").exit_code == 0
    run("context", "use", "b")
    assert run("stats").exit_code == 4  # no token is kept for it, and a's does not go there
    assert run("--context", "a", "stats").exit_code == 0
    rows = json.loads(run("context", "list", "-o", "json").stdout)
    assert [(row["name"], row["current"]) for row in rows] == [("a", False), ("b", True)]
    run("context", "remove", "b")
    assert [row["name"] for row in json.loads(run("context", "list", "-o", "json").stdout)] == ["a"]


@pytest.mark.parametrize(
    "args",
    [
        ("context", "use", "nope"),
        ("context", "add", "a b", "--url", "http://x"),
        ("context", "add", "a", "--url", "x"),
        ("context", "add", "a", "--url", "http://x", "--token-file", "missing"),
        ("--context", "nope", "stats"),
        ("--token", "a", "--token-file", "b", "stats"),
        ("--token-file", "missing", "--url", "http://127.0.0.1:9", "stats"),
    ],
)
def test_bad_contexts_are_2(run: Run, args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == 2


def test_a_damaged_file_of_contexts_is_named(run: Run) -> None:
    contexts_file().parent.mkdir(parents=True)
    contexts_file().write_text("[]")
    result = run("context", "list")
    assert (result.exit_code, str(contexts_file()) in result.stderr) == (1, True)


def test_the_environment(run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSCTL_URL", server.url)
    monkeypatch.setenv("WSCTL_TOKEN", ADMIN)
    assert run("stats").exit_code == 0
    assert run("--token", "other", "stats").exit_code == 4


@pytest.fixture
def dev_folder(home: Path, server: FakeServer) -> Path:
    var = home / "var"
    var.mkdir()
    (var / "dev-server.json").write_text(json.dumps({"url": server.url, "pid": 1}))
    (var / "dev-jwt-secret").write_text(SECRET + "\n")
    return var


def test_a_development_server_is_found_by_itself(
    run: Run, server: FakeServer, dev_folder: Path
) -> None:
    assert run("stats").exit_code == 0
    token = server.asked[0].token
    assert token is not None
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert claims["role"] == "admin"
    assert claims["exp"] - claims["iat"] == 300
    assert run("--url", server.url, "stats").exit_code == 0


def test_the_token_that_the_server_left_comes_before_a_secret(
    run: Run, server: FakeServer, dev_folder: Path
) -> None:
    (dev_folder / "dev-admin-token").write_text(ADMIN + "\n")
    assert run("stats").exit_code == 0
    assert server.asked[0].token == ADMIN


def test_the_development_token_goes_nowhere_else(run: Run, dev_folder: Path) -> None:
    assert run("--url", "http://127.0.0.1:9", "stats").exit_code == 4
    (dev_folder / "dev-server.json").write_text('{"url": "http://evil.example"}')
    assert "evil" not in run("--token", ADMIN, "stats").output


def test_token_create_prints_the_token_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSERVER_JWT_SECRET", SECRET)
    result = run(
        "token", "create", "--user", "u1", "--role", "manager", "--sessions", "a, b",
        "--organization", "o1", "--username", "张三", "--permissions", "monitor", "--ttl", "5m",
    )  # fmt: skip
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    claims = jwt.decode(result.stdout.strip(), SECRET, algorithms=["HS256"])
    assert claims["exp"] - claims["iat"] == 300
    assert claims.pop("jti")
    assert claims.items() >= {
        "sub": "u1", "role": "manager", "organization_id": "o1", "username": "张三"
    }.items()  # fmt: skip
    assert (claims["sessions"], claims["permissions"]) == (["a", "b"], ["monitor"])
    every = run("token", "create", "--user", "u1", "--sessions", "*").stdout.strip()
    assert jwt.decode(every, SECRET, algorithms=["HS256"])["sessions"] == "*"


def test_token_create_without_a_good_secret_is_2(run: Run) -> None:
    assert run("token", "create", "--user", "u").exit_code == 2
    Path("short").write_text("canary")
    result = run("token", "create", "--user", "u", "--secret-file", "short")
    assert (result.exit_code, "canary" in result.output) == (2, False)
    assert run("token", "create", "--user", "u", "--secret-file", "none").exit_code == 2
    assert run("token", "create", "--user", "u", "--ttl", "0s").exit_code == 2


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--user", "a b"),
        ("--user", ""),
        ("--user", "张三"),
        ("--user", "u1\n"),
        ("--user", "u" * 129),
        ("--organization", "o/1"),
        ("--sessions", "s1,s 2"),
        ("--sessions", "*,s1"),
        ("--sessions", "s1,."),
        ("--user", ".."),
    ],
)
def test_token_create_refuses_what_is_no_id(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: str, text: str
) -> None:
    monkeypatch.setenv("WSSERVER_JWT_SECRET", SECRET)
    result = run("token", "create", "--user", "u1", option, text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{option}: " in result.stderr
    assert "is not a valid id" in result.stderr


@pytest.mark.parametrize("text", [".", ".."])
def test_an_id_that_no_url_can_hold_is_not_sent(run: Run, text: str) -> None:
    result = run("--url", "http://127.0.0.1:1", "--token", "t", "members", text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"'{text}' is no id: no URL can hold it" in result.stderr


def test_token_inspect_reads_times_and_says_what_it_did_not_check(run: Run) -> None:
    token = jwt.encode({"sub": "u1", "exp": 1_700_000_000, "sessions": ["a"]}, SECRET)
    result = run("token", "inspect", "-", stdin=token + "\n")
    assert result.exit_code == 0
    assert "2023-11-14T22:13:20.000Z" in result.stdout
    assert "expired" in result.stdout
    assert "not checked" in result.stdout
    found = json.loads(run("token", "inspect", token, "-o", "json").stdout)
    assert (found["expired"], found["header"]["alg"]) == (True, "HS256")


@pytest.mark.parametrize("exp", [10**400, "99999999999", True, None])
def test_token_inspect_of_odd_times(run: Run, exp: object) -> None:
    token = jwt.encode({"sub": "u1"}, SECRET)
    head, _, signature = token.split(".")
    body = jwt.utils.base64url_encode(json.dumps({"exp": exp}).encode()).decode()
    result = run("token", "inspect", f"{head}.{body}.{signature}")
    assert (result.exit_code, "no usable exp" in result.stdout) == (0, True)


def test_token_inspect_of_something_else_does_not_repeat_it(run: Run) -> None:
    result = run("token", "inspect", "canary.canary.canary")
    assert (result.exit_code, "canary" in result.output) == (1, False)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o777])
def test_a_contexts_file_open_to_others_is_shut(run: Run, home: Path, mode: int) -> None:
    run("context", "add", "prod", "--url", "http://127.0.0.1:1")
    path = contexts_file()
    path.chmod(mode)
    shown = run("context", "list")
    assert (shown.exit_code, "prod" in shown.stdout) == (0, True)
    assert path.stat().st_mode & 0o077 == 0
    assert ("others could write" in shown.stderr) == bool(mode & 0o022)
    path.chmod(mode)
    run("context", "use", "prod")
    assert path.stat().st_mode & 0o777 == 0o600


def test_contexts_added_concurrently_are_all_kept(home: Path) -> None:
    adding = [
        subprocess.Popen(
            [sys.executable, "-m", "wsctl", "context", "add", f"c{number}", "--url", "http://h:1"],
            stderr=subprocess.PIPE,
        )
        for number in range(6)
    ]
    assert [process.communicate()[1] and process.returncode for process in adding] == [0] * 6
    assert set(Contexts().servers) == {f"c{number}" for number in range(6)}


def test_a_change_is_made_to_what_the_file_holds_by_then(home: Path) -> None:
    one, other = Contexts(), Contexts()
    one.add("a", Server("http://a"))
    other.add("b", Server("http://b"))
    assert (set(Contexts().servers), Contexts().current) == ({"a", "b"}, "a")
    one.remove("a")
    with pytest.raises(BadUsage):
        other.use("a")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"contexts": {"a": {"url": 5}}, "current": "a"}',
        '{"contexts": {"a": {"url": "http://h", "token_file": 7}}, "current": "a"}',
        '{"contexts": {}, "current": ["a"]}',
    ],
)
def test_an_invalid_contexts_file_is_named(run: Run, home: Path, text: str) -> None:
    contexts_file().parent.mkdir(parents=True)
    contexts_file().write_text(text)
    result = run("stats")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert f"{contexts_file()} is not valid" in result.stderr


def test_where_no_token_is_found_the_server_is_named_for_which(run: Run, home: Path) -> None:
    run("context", "add", "prod", "--url", "http://127.0.0.1:9")
    result = run("stats")
    assert result.exit_code == 4
    assert "no token for http://127.0.0.1:9" in result.stderr
