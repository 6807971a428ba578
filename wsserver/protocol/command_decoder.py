"""``CommandDecoder``: decodes text frames into commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import ValidationError, convert

from wsserver.errors import BadRequest, UnknownField, UnknownType, WsServerError, summary_of
from wsserver.protocol import strict_json
from wsserver.protocol.commands import Command
from wsserver.protocol.envelope import MAX_REF_LENGTH, Ref, is_ref, peek
from wsserver.protocol.types import JsonObject
from wsserver.protocol.validation import describe, faults_of

MAX_NAMED_FAULTS: Final = 20
"""Of a command, in the reply that refuses it."""
MAX_BARE: Final = 16
"""Number of remembered texts of commands without members."""
MAX_BARE_BYTES: Final = 64
"""Size of one of them."""
_ABSENT: Final = object()


class RefusedCommand(Exception):
    """A text that is not a valid command: the error for the reply, and the ``ref`` to echo."""

    def __init__(self, error: WsServerError, ref: Ref | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.ref = ref


Decoded = tuple[str, Command, Ref | None]
"""A command's type, the command, and its ``ref``."""


class CommandDecoder:
    """Decodes text frames into commands of the ``known`` types, which may become more.

    The same text gives the same command, and clients keep sending those without members, such as
    ``{"type":"ping"}``: the first few of them are remembered.
    """

    def __init__(self, known: Mapping[str, type[Command]]) -> None:
        self._known = known
        self._bare: dict[bytes, Decoded] = {}
        """By their texts, the commands without ``ref`` and members."""

    def decode(self, raw: bytes) -> Decoded:
        """Decode a text frame.

        Raises ``RefusedCommand`` with the error of the first fault, in the order: JSON, envelope,
        type, unknown fields, field types.
        """
        bare = self._bare.get(raw)
        if bare is not None:
            return bare
        try:
            envelope = strict_json.decode(raw)
        except WsServerError as error:
            raise RefusedCommand(error, peek(raw)[1]) from None
        if not isinstance(envelope, dict):
            raise RefusedCommand(BadRequest("a command is a JSON object"), None)
        ref = envelope.pop("ref", _ABSENT)
        if ref is _ABSENT:
            ref = None
        elif not is_ref(ref):
            message = f"ref: a string of at most {MAX_REF_LENGTH} characters or an integer"
            raise RefusedCommand(BadRequest(message, field="ref"), None)
        type_ = envelope.pop("type", None)
        if not isinstance(type_, str):
            what = "a string" if type_ is not None else "required"
            raise RefusedCommand(BadRequest(f"type: {what}", field="type"), ref)
        kind = self._known.get(type_)
        if kind is None:
            raise RefusedCommand(UnknownType(f"unknown command {type_[:64]!r}", field="type"), ref)
        try:
            decoded = type_, convert(envelope, kind), ref
        except ValidationError as error:
            raise RefusedCommand(_refusal(error, envelope, kind), ref) from None
        if not envelope and ref is None:
            self._remember(raw, decoded)
        return decoded

    def _remember(self, raw: bytes, decoded: Decoded) -> None:
        if len(self._bare) < MAX_BARE and len(raw) <= MAX_BARE_BYTES:
            self._bare[raw] = decoded


def _refusal(error: ValidationError, envelope: JsonObject, kind: type[Command]) -> WsServerError:
    """The error for a command of the wrong shape: its code and ``field`` are the first fault's."""
    first = describe(error)
    faults = faults_of(envelope, kind, "", MAX_NAMED_FAULTS)
    refusal = UnknownField if first.unknown else BadRequest
    return refusal(summary_of(faults), field=first.field, errors=faults)
