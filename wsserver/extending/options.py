"""Options of extensions: a table of the configuration read as the extension's type."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from wsserver.config import Settings, TableFault
from wsserver.config.tables import EnvironmentText, Table
from wsserver.extending.extension import Extension
from wsserver.protocol.validation import Complaint, complaints_of, fields_of

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


def checker(extension: Extension) -> Callable[[Table, Settings], tuple[Table, list[TableFault]]]:
    """The check of an extension's table, in the form of ``KnownExtensions``."""

    def check(table: Table, settings: Settings) -> tuple[Table, list[TableFault]]:
        options, faults = read_options(extension, table, settings)
        if options is None:
            return table, faults
        return msgspec.json.decode(msgspec.json.encode(options)), faults

    return check


def read_options(
    extension: Extension, table: Table, settings: Settings
) -> tuple[Any, list[TableFault]]:
    """The options as the extension's type, None if a value is wrong; and every fault."""
    fitted = fit(table, extension.options)
    faults = [_fault(each) for each in complaints_of(fitted, extension.options)]
    if faults:
        return None, faults
    options = msgspec.convert(fitted, extension.options)
    if extension.check_options is not None:
        faults += extension.check_options(options, settings)
    return options, faults


def _fault(complaint: Complaint) -> TableFault:
    if complaint.unknown:
        message = "is unknown"
    elif complaint.message == "required":
        message = "is missing"
    else:
        message = f"is wrong: {complaint.message}"
    return TableFault(complaint.field, message)


def fit(value: Any, kind: Any) -> Any:
    """Convert texts from the environment to the types of their fields."""
    kind = _bare(kind)
    if isinstance(value, dict):
        if isinstance(kind, type) and issubclass(kind, Struct):
            members = {field.name: field.type for field in fields_of(kind)}
            return {name: fit(each, members.get(name, Any)) for name, each in value.items()}
        inner = get_args(kind)[1] if get_origin(kind) is dict else Any
        return {name: fit(each, inner) for name, each in value.items()}
    return _parsed(value, kind) if isinstance(value, EnvironmentText) else value


def _parsed(text: str, kind: Any) -> Any:
    text = str(text)
    if get_origin(kind) in (list, tuple):
        return [entry for part in text.split(",") if (entry := part.strip())]
    if kind is bool and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    if kind is int and re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return int(text)
    if kind is float and re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", text):
        return float(text)
    return text


def _bare(kind: Any) -> Any:
    """The type without None and ``Annotated``."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, types.UnionType):
            kind = next((one for one in get_args(kind) if one is not types.NoneType), Any)
        else:
            return kind
