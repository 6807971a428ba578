"""Validation of JSON values against types: every fault, with its field and message."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct, UnsetType, ValidationError, convert

from wsserver.errors import MAX_FAULTS, ValidationFailed
from wsserver.identity.ids import ID_FORM, USER_ID_FORM
from wsserver.protocol.types import (
    ACTION_URL_PATTERN,
    ID_PATTERN,
    NODE_PATTERN,
    PHONE_PATTERN,
    PUSH_TYPE_PATTERN,
    STREAM_PATTERN,
    TIME_OF_DAY_PATTERN,
    TITLE_PATTERN,
    USER_ID_PATTERN,
)

_PATTERNS = {
    ID_PATTERN: ID_FORM,
    NODE_PATTERN: "a node's name: 1-128 characters of A-Z a-z 0-9 . _ : @ -, and /N for a worker",
    USER_ID_PATTERN: USER_ID_FORM,
    PUSH_TYPE_PATTERN: "a-z first, then at most 63 of a-z 0-9 _ .",
    STREAM_PATTERN: "broadcast, session:ID, user:ID or organization:ID",
    ACTION_URL_PATTERN: "a path with one / at first, or http(s)://host…; no blanks, no backslashes",
    PHONE_PATTERN: "a number in international form like +8613800138000",
    TITLE_PATTERN: "at most 200 characters, none of them a control character",
    TIME_OF_DAY_PATTERN: "a time of day from 00:00 to 23:59",
}


class Complaint(NamedTuple):
    """One fault of a JSON value."""

    field: str
    """Dotted path, empty for the value itself."""
    message: str
    unknown: bool
    """Whether the fault is an unknown field."""


_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(.*?)`(?: - at `(.*)`)?$", re.DOTALL)
_MISSING_FIELD = re.compile(r"^Object missing required field `(.*?)`(?: - at `(.*)`)?$", re.DOTALL)
_AT_FIELD = re.compile(r"^(.*) - at (?:`key` in )?`\$\.?(.*)`$", re.DOTALL)


def describe(error: ValidationError) -> Complaint:
    """Split an error of msgspec into field and message."""
    text = str(error)
    for pattern, message, unknown in (
        (_UNKNOWN_FIELD, "unknown field", True),
        (_MISSING_FIELD, "required", False),
    ):
        match = pattern.match(text)
        if match:
            parent = (match[2] or "$").removeprefix("$").removeprefix(".")
            field = f"{parent}.{match[1]}" if parent else match[1]
            return Complaint(field[:128], message, unknown)
    match = _AT_FIELD.match(text)
    if match:
        return Complaint(match[2][:128], _readable(match[1]), False)
    return Complaint("", _readable(text), False)


def _readable(message: str) -> str:
    for pattern, meaning in _PATTERNS.items():
        if repr(pattern) in message:
            return meaning
    return message.replace("`", "")


_NAME_LENGTH = 64
_VALUE_LENGTH = 40

S = TypeVar("S", bound=Struct)
Fault = dict[str, str]
"""``field`` and ``message``, as the answers have them."""


class Field(NamedTuple):
    """A member of a struct."""

    name: str
    type: Any
    is_required: bool


def complaints_of(value: Any, kind: Any, limit: int = MAX_FAULTS) -> list[Complaint]:
    """Every fault of ``value`` as a ``kind``, at most ``limit``; none: it converts."""
    walk = _Walk(limit)
    walk.look(value, kind, "")
    return walk.found


def faults_of(value: Any, kind: Any, root: str, limit: int = MAX_FAULTS) -> list[Fault]:
    """Every fault as a dict; ``root`` is the field of faults of the whole value."""
    return [
        {"field": complaint.field or root, "message": complaint.message}
        for complaint in complaints_of(value, kind, limit)
    ]


def gather(*checks: Callable[[], object]) -> list[Fault]:
    """The faults of all checks together; each may raise ``ValidationFailed``."""
    faults: list[Fault] = []
    for check in checks:
        try:
            check()
        except ValidationFailed as error:
            faults += error.details["errors"]
    return faults


def members_of(faults: Iterable[Fault]) -> frozenset[str]:
    """The members of the outermost object that have these faults."""
    return frozenset(re.split(r"[.\[]", fault["field"], maxsplit=1)[0] for fault in faults)


def without(value: Any, kind: type[S], bad: Collection[str]) -> S | None:
    """Convert without the bad members; None if required ones are missing then."""
    if not isinstance(value, dict):
        return None
    names = {field.name for field in fields_of(kind)}.difference(bad)
    try:
        return convert({name: value[name] for name in value.keys() & names}, kind)
    except ValidationError:
        return None


def one_of(values: Sequence[str]) -> str:
    """The message for a value that is not one of these."""
    return f"not one of {', '.join(values)}"


class _Walk:
    def __init__(self, limit: int) -> None:
        self.found: list[Complaint] = []
        self._limit = limit

    @property
    def is_over(self) -> bool:
        """Whether the limit is reached."""
        return len(self.found) >= self._limit

    def look(self, value: Any, kind: Any, path: str) -> None:
        """Add the complaints about one part."""
        if self.is_over:
            return
        try:
            convert(value, kind)
            return
        except ValidationError as error:
            failure = error
        before = len(self.found)
        meant = _meant(kind, value)
        bare = _bare(meant)
        if isinstance(value, dict) and _is_struct(bare):
            self._struct(value, bare, path)
        elif isinstance(value, list) and get_origin(bare) in (list, tuple):
            self._items(value, get_args(bare)[0], path, 0)
        elif isinstance(value, dict) and get_origin(bare) is dict:
            self._members(value, *get_args(bare), path=path)
        whole = _length_complaint(value, meant)
        if whole:
            self._add(path, whole)
        elif len(self.found) == before:
            self._add(path, _message(failure, value, meant))

    def _struct(self, value: dict[str, Any], kind: type[Struct], path: str) -> None:
        fields = fields_of(kind)
        for field in fields:
            place = _join(path, field.name)
            if field.name in value:
                self.look(value[field.name], field.type, place)
            elif field.is_required:
                self._add(place, "required")
        if kind.__struct_config__.forbid_unknown_fields:
            names = {field.name for field in fields}
            for name in (each for each in value if each not in names):
                self._add(_join(path, name), "unknown field", unknown=True)

    def _items(self, items: list[Any], kind: Any, path: str, start: int) -> None:
        """Add the complaints of bad items, found by halving the list."""
        if self.is_over:
            return
        if len(items) == 1:
            self.look(items[0], kind, f"{path}[{start}]")
            return
        try:
            convert(items, list[kind])
        except ValidationError:
            middle = len(items) // 2
            self._items(items[:middle], kind, path, start)
            self._items(items[middle:], kind, path, start + middle)

    def _members(self, members: dict[str, Any], key: Any, kind: Any, *, path: str) -> None:
        for name, value in members.items():
            place = _join(path, name)
            self.look(name, key, place)
            self.look(value, kind, place)
            if self.is_over:
                return

    def _add(self, path: str, message: str, *, unknown: bool = False) -> None:
        if not self.is_over:
            self.found.append(Complaint(path[:128], message, unknown))


@cache
def fields_of(kind: type[Struct]) -> tuple[Field, ...]:
    """The members of a struct, by their names in JSON."""
    return tuple(
        Field(each.encode_name, _without_unset(each.type), each.required)
        for each in msgspec.structs.fields(kind)
    )


def _without_unset(kind: Any) -> Any:
    """The type without ``UnsetType``, the type of members that were not given."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    return reduce(or_, (each for each in get_args(kind) if each is not UnsetType))


def _bare(kind: Any) -> Any:
    """The type below ``Annotated``."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _meant(kind: Any, value: Any) -> Any:
    """Of a union, the one member that ``value`` can be meant for; else the type itself."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    meant = [each for each in get_args(kind) if _takes(_bare(each), value)]
    return meant[0] if len(meant) == 1 else kind


def _takes(kind: Any, value: Any) -> bool:
    """Whether the value is of this kind of JSON: an object, an array, a string."""
    if isinstance(value, dict):
        return _is_struct(kind) or get_origin(kind) is dict
    if isinstance(value, list):
        return get_origin(kind) in (list, tuple)
    return isinstance(value, str) and (bool(_choices(kind)) or kind is str)


def _length_complaint(value: Any, kind: Any) -> str:
    """The fault of a list's length, whatever its items are; "" without one."""
    if not isinstance(value, list) or get_origin(kind) is not Annotated:
        return ""
    inner, *meta = get_args(kind)
    if get_origin(inner) is not list:
        return ""
    try:
        convert(value, reduce(lambda made, each: Annotated[made, each], meta, list[Any]))
    except ValidationError as error:
        return describe(error).message
    return ""


def _message(failure: ValidationError, value: Any, kind: Any) -> str:
    choices = _choices(_bare(kind))
    if choices and isinstance(value, str):
        return f"{value[:_VALUE_LENGTH]!r} is {one_of(choices)}"
    message = describe(failure).message
    for pattern, description in _described(kind):  # those of extensions are not in _PATTERNS
        if repr(pattern) in message:
            return description
    return message


def _described(kind: Any) -> Iterator[tuple[str, str]]:
    """Patterns of a type, with their descriptions in words."""
    for each in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
        if isinstance(each, msgspec.Meta) and each.pattern and each.description:
            yield each.pattern, each.description


def _choices(kind: Any) -> tuple[str, ...]:
    """The allowed strings of an enumeration."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(each.value) for each in kind)
    return ()


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _join(path: str, name: str) -> str:
    name = name[:_NAME_LENGTH]
    return f"{path}.{name}" if path else name
