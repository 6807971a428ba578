"""``wsctl token``: create, inspect and revoke tokens; get tickets."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group, read_stdin
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import organization_option, user_option, yes_option
from wsctl.cli.prompts import confirm
from wsctl.errors import BadUsage, Failed
from wsctl.formatting import plain, plural
from wsctl.output.writer import Column
from wsctl.times import Duration, readable, rfc3339

_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:@-]{1,128}")
_USER_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:@|+-]{1,128}")
_NO_DOTS = "; not . or .., which URLs drop"
_MOMENTS = ("exp", "iat", "nbf")


@group()
def token() -> None:
    """Create, inspect and revoke tokens; get tickets.

    Examples:
    wsctl token create --user u1 --sessions s1
    wsctl token inspect -
    wsctl token revoke --user u1
    """


def _id(option: str, text: str) -> str:
    """Check an id as the server does, which refuses tokens with others."""
    if not _ID.fullmatch(text):
        raise BadUsage(
            f"{option}: {text!r} is not a valid id: use 1 to 128 of A-Z a-z 0-9 . _ : @ -{_NO_DOTS}"
        )
    return text


def _user_id(text: str) -> str:
    """Check a user id, which may also contain ``|`` and ``+``."""
    if not _USER_ID.fullmatch(text):
        form = f"1 to 128 of A-Z a-z 0-9 . _ : @ | + -{_NO_DOTS}"
        raise BadUsage(f"--user: {text!r} is not a valid id: use {form}")
    return text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@command(is_local=True)
@user_option("The user id.", required=True)
@click.option(
    "--user-claim",
    default="sub",
    show_default=True,
    metavar="NAME",
    help="Claim that holds the user id: the server's jwt_user_claim.",
)
@click.option(
    "--role", type=click.Choice(completion.ROLES), help="The role; the server's default is user."
)
@click.option(
    "--sessions",
    metavar="a,b|*",
    help="Sessions that the user may join; * for all.",
    shell_complete=completion.listed(completion.sessions),
)
@organization_option("The organization id.")
@click.option("--username", metavar="N", help="The name shown to others.")
@click.option("--permissions", metavar="a,b", help="Limit the role's permissions to these.")
@click.option("--ttl", type=Duration(), default="1h", show_default=True, help="Lifetime.")
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    metavar="F",
    help="File with the server's secret. Or WSSERVER_JWT_SECRET, or ./var/dev-jwt-secret.",
)
@pass_environment
def create(
    environment: Environment,
    user: str,
    user_claim: str,
    role: str | None,
    sessions: str | None,
    organization: str | None,
    username: str | None,
    permissions: str | None,
    ttl: float,
    secret_file: Path | None,
) -> None:
    """Create a token and print it.

    It is signed with the server's secret (HS256).

    Examples:
    wsctl token create --user u1 --sessions s1,s2
    wsctl token create --user ops --role admin --ttl 5m
    wsctl token create --user u1 --sessions '*' --secret-file /etc/wsserver/secret
    """
    from wsctl.config.tokens import sign

    claims: dict[str, Any] = {user_claim: _user_id(user)}
    if organization is not None:
        claims["organization_id"] = _id("--organization", organization)
    optional = {"role": role, "username": username}
    claims.update({name: value for name, value in optional.items() if value is not None})
    if sessions is not None:
        is_all = sessions.strip() == "*"
        claims["sessions"] = "*" if is_all else [_id("--sessions", n) for n in _names(sessions)]
    if permissions is not None:
        claims["permissions"] = _names(permissions)
    made = sign(secret_of(secret_file), claims, ttl)
    if environment.output.is_table:
        environment.output.data(f"{made}\n")
    else:
        environment.output.record({"token": made})


def secret_of(secret_file: Path | None) -> bytes:
    """The server's secret: from the file, the environment, or the development server's folder."""
    from wsctl.config.target import DEV_FOLDER, DEV_SECRET, development_secret
    from wsctl.config.tokens import read_secret

    if secret_file is not None:
        return read_secret(secret_file)
    if secret := os.environ.get("WSSERVER_JWT_SECRET"):
        return secret.encode()
    if (found := development_secret()) is not None:
        return found
    raise BadUsage(
        "no secret: give --secret-file, set WSSERVER_JWT_SECRET, or run this in a folder with"
        f" {DEV_FOLDER / DEV_SECRET}"
    )


_COLUMNS = [Column("PART", "part"), Column("NAME", "name"), Column("VALUE", "value")]


@command(is_local=True)
@click.argument("token", metavar="TOKEN|-")
@pass_environment
def inspect(environment: Environment, token: str) -> None:
    """Show a token's header and claims; - reads it from standard input.

    The signature is NOT checked: the content may be forged.

    Examples:
    wsctl token create --user u1 | wsctl token inspect -
    wsctl token inspect - -o json < token.txt
    """
    text = read_stdin() if token == "-" else token  # noqa: S105
    header, claims = _parts(text.strip().removeprefix("Bearer "))
    now = time.time()
    state, is_expired = _state(claims, now)
    output = environment.output
    if output.format == "json":
        output.record(
            {
                "header": header,
                "claims": claims,
                "times": {k: _moment(claims[k]) for k in _MOMENTS if k in claims},
                "expired": is_expired,
                "state": state,
                "signature": "not checked",
            }
        )
        return
    rows = [{"part": "header", "name": k, "value": _shown(v)} for k, v in header.items()]
    for name, value in claims.items():
        moment = _moment(value) if name in _MOMENTS else None
        shown = f"{_shown(value)} = {moment}" if moment else _shown(value)
        rows.append({"part": "claim", "name": name, "value": shown})
    rows.append({"part": "state", "name": "expiry", "value": state})
    rows.append({"part": "state", "name": "signature", "value": "not checked"})
    output.rows(_COLUMNS, rows, empty="")


@command()
@click.argument("token", metavar="[TOKEN|-]", required=False)
@click.option("--file", type=click.Path(path_type=Path), metavar="F", help="File with the token.")
@click.option("--jti", metavar="ID", help="The token's id (claim jti), as inspect shows it.")
@user_option("All tokens of this user that were issued until now.")
@yes_option
@pass_environment
def revoke(
    environment: Environment,
    token: str | None,
    file: Path | None,
    jti: str | None,
    user: str | None,
    yes: bool,
) -> None:
    """Revoke a token, or all tokens of a user.

    Connections that were opened with it are closed (code 4505). This cannot be undone: the user
    needs a new token. Prefer --file or - to TOKEN: other users of this machine can see the
    arguments of a process. Asks first on a terminal; elsewhere, as in cron, it does not ask.

    Examples:
    wsctl token revoke --user u1
    wsctl token revoke --file leaked.txt --yes
    wsctl token revoke - < leaked.txt
    wsctl token revoke --jti 5f1c9e0b7a3d2468
    """
    given = [value for value in (token, file, jti, user) if value is not None]
    if len(given) != 1:
        raise click.UsageError("Give exactly one of TOKEN, --file, --jti and --user.")
    if token is not None or file is not None:
        jti = _jti(_text(token, file))
    body = {"user_id": user} if user is not None else {"jti": jti}
    what = f"all tokens of {user}" if user is not None else f"the token {jti}"
    confirm(f"Revoke {what}? It cannot be undone.", yes=yes, otherwise="nothing was revoked")
    answer = environment.client.post("/tokens/revoke", body)
    closed = plural(answer.get("disconnected", 0), "connection")
    environment.output.document(answer, f"revoked {what}; {closed} closed")


@command()
@pass_environment
def ticket(environment: Environment) -> None:
    """Get a one-time ticket for the token.

    It is valid for one WebSocket handshake (?ticket=) or one sign-in at the console within 30
    seconds. Unlike the token itself, it may be part of a URL. wsctl console opens the console with
    one.

    Examples:
    wsctl token ticket
    """
    from wsctl.http.client import member

    answer = environment.client.post("/tickets", {})
    if environment.output.is_table:
        environment.output.data(f"{member(answer, 'ticket', str)}\n")
    else:
        environment.output.record(answer)


def _text(token: str | None, file: Path | None) -> str:
    """The token's text: the argument, standard input or a file."""
    from wsctl.config.target import read_token_file

    if file is not None:
        return read_token_file(file)
    return read_stdin() if token == "-" else str(token)  # noqa: S105


def _jti(text: str) -> str:
    _, claims = _parts(text.strip().removeprefix("Bearer "))
    jti = claims.get("jti")
    if not isinstance(jti, str) or not jti:
        owner = claims.get("sub")
        hint = f": revoke all of its user with --user {owner}" if isinstance(owner, str) else ""
        raise Failed(f"the token has no claim jti, so it cannot be revoked alone{hint}")
    return jti


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    import jwt

    try:
        whole = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        # Never the library's own message: it may quote the token.
        raise Failed("not a token: expected header.claims.signature in base64url") from None
    return whole["header"], whole["payload"]


def _moment(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return rfc3339(value)
    except (ValueError, OverflowError, OSError):
        return None


def _state(claims: dict[str, Any], now: float) -> tuple[str, bool | None]:
    """The state in words, and whether it is expired; None: no usable ``exp``."""
    expiry = claims.get("exp")
    if _moment(expiry) is None or expiry is None:
        return "no usable exp: the server refuses it", None
    if expiry <= now:
        return f"expired {readable(now - expiry)} ago", True
    start = claims.get("nbf")
    if _moment(start) is not None and start is not None and start > now:
        return f"not valid before {readable(start - now)} from now", False
    return f"valid for {readable(expiry - now)}", False


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return plain(value) if isinstance(value, bool) or value is None else str(value)


token.add_command(create)
token.add_command(inspect)
token.add_command(revoke)
token.add_command(ticket)
