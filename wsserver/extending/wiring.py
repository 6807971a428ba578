"""Wiring of extensions: a context for each, and what they have built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wsserver.extending.context import ExtensionContext
from wsserver.extending.extension import Part
from wsserver.extending.loading import Extensions
from wsserver.realtime.dispatcher import Dispatcher


def build_parts(
    extensions: Extensions, context: ExtensionContext[Any], dispatcher: Dispatcher
) -> dict[str, Part]:
    """Build each extension with its options, and register its commands; by name."""
    parts: dict[str, Part] = {}
    for extension, options in extensions.options.items():
        part = extension.build(replace(context, options=options))
        if part.handlers.keys() != extension.commands.keys():
            raise ValueError(f"{extension.name}: handlers must be those of its commands")
        dispatcher.add_commands(extension.commands)
        dispatcher.add_handlers(part.handlers)
        parts[extension.name] = part
    return parts
