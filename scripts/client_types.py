"""TypeScript types of pushes, commands, replies and errors, from the server's msgspec structs.

``clients/js/src/protocol.d.ts`` is this module's output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as kinds

from wsserver import errors
from wsserver.config import Settings
from wsserver.extension_registry import load_extensions
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.commands import MONITOR_COMMANDS
from wsserver.web.resources import socket_frames, socket_replies
from wsserver.web.resources.socket_frames import AnyPush
from wsserver.web.resources.socket_replies import RESULTS

PATH = Path(__file__).parents[1] / "clients" / "js" / "src" / "protocol.d.ts"
HEAD = """\
// Made by scripts/client-types from the server's own types. Do not edit.

/** A JSON object whose members are not the server's business. */
export type JsonObject = Record<string, any>;

/** A push that is kept: it has its place in a stream. */
export type Kept<P> = P & { stream: string; epoch: string; offset: number };

/** The reply to a command of a monitor. */
export interface Result<R> {
  type: "result";
  result: R;
}

/** A kept push, as in `messages` of `history`, `session_joined` and `resumed`. */
export type KeptPush = Kept<
  | NewMessagePush
  | MessageUpdatedPush
  | MessageDeletedPush
  | AnswerEndedPush
  | NotificationPush
  | CustomPush
>;
"""
EXTENSIONS = load_extensions(Settings())
"""The built-in ones."""
COMMANDS = {**MONITOR_COMMANDS, **EXTENSIONS.commands}
PUSHES: dict[str, type[Struct]] = {**socket_frames.PUSHES, **EXTENSIONS.pushes}
REPLIES = {**socket_replies.REPLIES, **EXTENSIONS.replies}
MEANINGS = {**errors.MEANINGS, **EXTENSIONS.errors}
PREFERRED: dict[type, str] = {AnyPush: "CustomPush"}
"""Names for clients, where they differ from the server's."""
UNIONS: dict[tuple[type[Struct], str], tuple[type[Struct], ...]] = {
    (socket_frames.NewMessagePush, "message"): (
        socket_frames.ChatMessage,
        socket_frames.DeletedMessage,
    ),
}
"""Members that hold one of several structs, which msgspec cannot say: those of kept pushes, whose
message may have been deleted before they are replayed."""
ABSENT: dict[type[Struct], tuple[str, ...]] = {socket_frames.ChatMessage: ("deleted",)}
"""Members that a struct does not have, but others of a union: TypeScript tells them apart by it."""


class Types:
    """Interfaces of structs, each once, in the order in which they were first referred to."""

    def __init__(self) -> None:
        self._names: dict[type, str] = {}
        self._interfaces: dict[str, str] = {}

    def of(self, kind: Any) -> str:
        """The TypeScript type of an annotation or of a node of ``msgspec.inspect``."""
        node = kind if isinstance(kind, kinds.Type) else kinds.type_info(kind)
        match node:
            case kinds.Metadata(type=inner):
                return self.of(inner)
            case kinds.StructType(cls=cls):
                return "KeptPush" if cls is AnyPush else self.interface(cls)
            case kinds.UnionType(types=types):
                return " | ".join(dict.fromkeys(map(self.of, types)))
            case kinds.ListType(item_type=item) | kinds.VarTupleType(item_type=item):
                name = self.of(item)
                return f"({name})[]" if " " in name else f"{name}[]"
            case kinds.DictType(value_type=kinds.AnyType()):
                return "JsonObject"
            case kinds.DictType(value_type=value):
                return f"Record<string, {self.of(value)}>"
            case kinds.LiteralType(values=values):
                return union(values)
            case kinds.EnumType(cls=cls):
                return union([member.value for member in cls])
            case kinds.StrType():
                return "string"
            case kinds.IntType() | kinds.FloatType():
                return "number"
            case kinds.BoolType():
                return "boolean"
            case kinds.NoneType():
                return "null"
            case kinds.AnyType():
                return "unknown"
        raise TypeError(f"no TypeScript type for {node}")

    def interface(self, cls: type[Struct], name: str | None = None, type_: str = "") -> str:
        """The name of a struct's interface, which is written if it is not there yet.

        ``type_``: the value of its member ``type``, if it is a push or a reply.
        """
        name = self._names.setdefault(cls, name or PREFERRED.get(cls, cls.__name__))
        if name in self._interfaces:
            return name
        self._interfaces[name] = ""  # its place, before those that it refers to
        members = [f"  type: {type_};"] if type_ else []
        for field in msgspec.structs.fields(cls):
            members += [f"  {line}" for line in comment(description_of(field.type))]
            optional = "" if field.required else "?"
            either = UNIONS.get((cls, field.name), (field.type,))
            of_member = " | ".join(self.of(kind) for kind in either)
            members.append(f"  {field.encode_name}{optional}: {of_member};")
        members += [f"  {name}?: undefined;" for name in ABSENT.get(cls, ())]
        body = "\n".join(members)
        about = "\n".join(comment(cleandoc(cls.__doc__ or "")))
        self._interfaces[name] = f"{about}\nexport interface {name} {{\n{body}\n}}\n"
        return name

    @property
    def texts(self) -> Iterator[str]:
        """The interfaces."""
        yield from self._interfaces.values()


def union(values: Any) -> str:
    """A union of literals."""
    return " | ".join(json.dumps(value) for value in values)


def description_of(kind: Any) -> str:
    """The description in an annotation, also of one that may be unset."""
    node = kinds.type_info(kind)
    nodes = node.types if isinstance(node, kinds.UnionType) else [node]
    for each in nodes:
        if isinstance(each, kinds.Metadata) and each.extra_json_schema:
            return str(each.extra_json_schema.get("description", ""))
    return ""


def comment(text: str) -> list[str]:
    """A JSDoc comment."""
    lines = text.replace("``", "`").replace("*/", "* /").splitlines()
    if len(lines) <= 1:
        return [f"/** {line} */" for line in lines]
    return ["/**", *(f" * {line}".rstrip() for line in lines), " */"]


def generate() -> str:
    """The whole file."""
    types = Types()
    pushes = {
        type_: types.interface(kind, type_=json.dumps(type_)) for type_, kind in PUSHES.items()
    }
    types.interface(AnyPush, type_="string")
    commands = []
    for type_, command in COMMANDS.items():
        name = f"{command.__name__}Command"
        if type_ in REPLIES:
            reply_type, kind = REPLIES[type_]
            fields = types.interface(command, name)
            reply = types.interface(kind, type_=json.dumps(reply_type))
        elif type_ in RESULTS:
            args, kind = RESULTS[type_]
            fields = f"{{ args: {types.interface(args)} }}" if args else "{ args?: {} }"
            reply = f"Result<{types.interface(kind)}>"
        else:  # `pong`, which the client sends by itself
            continue
        commands += [
            *comment(f"  {command.__doc__}".strip()),
            f"{type_}: {{ fields: {fields}; reply: {reply} }};",
        ]
    sections = [
        HEAD,
        *types.texts,
        table("Pushes", "Every push that the server names, by its type.", pushes),
        "/** Every command of the server, by its type: its fields and its reply. */\n"
        "export interface Commands {\n" + "".join(f"  {line}\n" for line in commands) + "}\n",
        listing("ServerErrorCode", "The codes of the server's errors.", MEANINGS),
        listing(
            "TemporaryErrorCode",
            "Those where trying again can help.",
            [code for code, meaning in MEANINGS.items() if meaning.temporary],
        ),
        listing("CloseCode", "The close codes of the server.", [int(code) for code in CloseCode]),
    ]
    return "\n".join(sections)


def table(name: str, about: str, members: dict[str, str]) -> str:
    """An interface from names to types."""
    body = "".join(f"  {key}: {value};\n" for key, value in members.items())
    return f"/** {about} */\nexport interface {name} {{\n{body}}}\n"


def listing(name: str, about: str, values: Any) -> str:
    """A type of its literals, one a line."""
    body = "".join(f"\n  | {json.dumps(value)}" for value in values)
    return f"/** {about} */\nexport type {name} ={body};\n"


def main(arguments: list[str]) -> int:
    """Write the file; with ``--check`` only compare it."""
    text = generate()
    if arguments == ["--check"]:
        if PATH.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PATH} is not current: run scripts/client-types", file=sys.stderr)
        return 1
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
