"""Query string parsing into msgspec structs; unknown parameters and bad values are errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar, get_args
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta, Struct, ValidationError

from wsserver.clock import Clock
from wsserver.errors import BadRequest, summary_of
from wsserver.paging import DEFAULT_LIMIT, MAX_LIMIT, Window
from wsserver.protocol.types import NodeName
from wsserver.protocol.validation import Fault, complaints_of

S = TypeVar("S", bound=Struct)
Pairs = Sequence[tuple[str, str]]

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_AGE = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.A)
_DATETIME = Annotated[datetime, Meta(tz=True)]
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MAX_PAIRS = 32

Limit = Annotated[
    int, Meta(ge=1, le=MAX_LIMIT, description="maximum number; a page also ends at 4 MiB")
]
Moment = Annotated[
    str,
    Meta(
        max_length=64,
        description="RFC 3339, or an age before now such as 90s, 5m, 24h, 7d",
        examples=["24h", "2024-01-15T14:30:00Z"],
    ),
]
Step = Annotated[
    str,
    Meta(
        # Validated by ``step_of``, for a readable message; the pattern is for OpenAPI.
        max_length=64,
        extra_json_schema={"pattern": f"^{_AGE.pattern}$"},
        description="last snapshot of each interval",
        examples=["5m"],
    ),
]


class PageQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Page of a list: ``limit`` and ``cursor``."""

    limit: Limit = DEFAULT_LIMIT
    cursor: (
        Annotated[
            str, Meta(min_length=1, max_length=1024, description="next_cursor of the previous page")
        ]
        | None
    ) = None

    @property
    def window(self) -> Window:
        """The same for lists in memory."""
        return Window(self.limit, self.cursor)


NodeParameter = Annotated[NodeName, Meta(description="only this node; default: all nodes")]


class NodeQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """One node, or all of them."""

    node: NodeParameter | None = None


class NodePageQuery(PageQuery, kw_only=True):
    """Page of a list of one node, or of all of them."""

    node: NodeParameter | None = None


class SearchedPageQuery(NodePageQuery, kw_only=True):
    """Page of a list whose items are found by words."""

    search: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=128,
                description="words, or parts of them, that an item has in its ids and names",
            ),
        ]
        | None
    ) = None


def parse_pairs(query: str) -> Pairs:
    """Parse a raw query string; raises ``BadRequest`` for broken escapes and UTF-8.

    Errors quote neither names nor values, as they may have a token.
    """
    if not query:
        return ()
    pairs = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        pairs.append((_unquote(name), _unquote(value)))
    if len(pairs) > MAX_PAIRS:
        raise BadRequest(f"more than {MAX_PAIRS} query parameters")
    return pairs


def read_query(pairs: Pairs, kind: type[S], faults: Sequence[Fault] = ()) -> S:
    """Convert query parameters to a struct.

    Raises ``BadRequest`` that names every bad parameter, after the given ``faults``.
    """
    found = list(faults)
    forms = _forms(kind)
    values: dict[str, Any] = {}
    for name, text in pairs:
        form = forms.get(name)
        wrong = "given twice" if name in values else "" if form is None else form.complaint(text)
        if wrong:
            found.append({"field": _shown(name), "message": wrong})
        values.setdefault(name, int(text) if form is _WHOLE and not wrong else text)
    if not found:
        try:
            return msgspec.convert(values, kind)
        except ValidationError:
            pass
    named = {fault["field"] for fault in found}
    for complaint in complaints_of(values, kind):
        field = _shown(complaint.field)
        if field not in named or complaint.unknown:
            what = "unknown query parameter" if complaint.unknown else complaint.message
            found.append({"field": field, "message": what})
    raise BadRequest(summary_of(found), field=found[0]["field"], errors=found)


def moment_of(text: str, field: str, clock: Clock) -> float:
    """Seconds since the epoch for a time or an age; raises ``BadRequest``."""
    age = _AGE.fullmatch(text)
    if age is not None:
        return clock.wall() - int(age[1]) * _UNIT_S[age[2]]
    try:
        return _seconds_of(text)
    except (ValueError, OverflowError):  # covers msgspec's errors
        raise BadRequest(f"{field}: {_NO_MOMENT}", field=field) from None


class TimeRange(Protocol):
    """A query with ``since`` (inclusive) and ``until`` (exclusive)."""

    since: Moment | None
    until: Moment | None


def time_range(query: TimeRange, clock: Clock) -> tuple[float | None, float | None]:
    """``since`` and ``until`` in seconds since the epoch; raises ``BadRequest``."""
    return (
        None if query.since is None else moment_of(query.since, "since", clock),
        None if query.until is None else moment_of(query.until, "until", clock),
    )


def step_of(text: str, field: str) -> int:
    """Length of a step in seconds; raises ``BadRequest``."""
    step = _AGE.fullmatch(text)
    if step is None:
        raise BadRequest(f"{field}: {_NO_STEP}", field=field)
    return int(step[1]) * _UNIT_S[step[2]]


def _seconds_of(text: str) -> float:
    if _TIME.fullmatch(text) is None:
        raise ValueError(text)
    # msgspec parses upper case only; it checks days of months and leap years.
    moment: datetime = msgspec.convert(text.upper(), _DATETIME)
    return float(moment.timestamp())


def _is_moment(text: str) -> bool:
    if _AGE.fullmatch(text) is not None:
        return True
    try:
        _seconds_of(text)
    except (ValueError, OverflowError):
        return False
    return True


def _unquote(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise BadRequest("the query string has a broken percent escape")
    try:
        # Tornado reads the request line as latin-1.
        return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode()
    except UnicodeError:
        raise BadRequest("the query string is not valid UTF-8") from None


def _shown(name: str) -> str:
    return name if len(name) <= 64 and name.isascii() and name.isprintable() else "query"


class _Form(NamedTuple):
    """Text format of a parameter, beyond what its type checks."""

    is_good: Callable[[str], object]
    message: str

    def complaint(self, text: str) -> str:
        """Error message for a value; empty if it is valid."""
        return "" if self.is_good(text) else self.message


_NO_MOMENT = "neither an RFC 3339 time nor an age such as 24h"
_NO_STEP = "not a duration such as 30s, 5m, 1h"
_WHOLE = _Form(_NUMBER.fullmatch, "not an integer from 0, such as 20")
_MOMENT = _Form(_is_moment, _NO_MOMENT)
_STEP = _Form(_AGE.fullmatch, _NO_STEP)


@cache
def _forms(kind: type[Struct]) -> dict[str, _Form]:
    """Formats by parameter name."""
    found = {}
    for field in msgspec.structs.fields(kind):
        types = (field.type, *get_args(field.type))
        for form, is_meant in (
            (_WHOLE, _is_number(field.type)),
            (_MOMENT, Moment in types),
            (_STEP, Step in types),
        ):
            if is_meant:
                found[field.name] = form
    return found


def _is_number(kind: Any) -> bool:
    return _has_number(msgspec.inspect.type_info(kind))


def _has_number(described: msgspec.inspect.Type) -> bool:
    """Whether a type is an integer or an optional one."""
    if isinstance(described, msgspec.inspect.Metadata):
        return _has_number(described.type)
    if isinstance(described, msgspec.inspect.UnionType):
        return any(map(_has_number, described.types))
    return isinstance(described, msgspec.inspect.IntType)
