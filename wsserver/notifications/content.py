"""What a notification says: its own texts or a template's, in a user's language."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from wsserver.notifications.templates import Rendered, Templates, closes_itself, one_line
from wsserver.protocol.notifications import DEFAULT_LOCALE, Locale, NotificationType
from wsserver.protocol.types import JsonObject, is_action_url


class Text(Struct, frozen=True, kw_only=True):
    """A notification in its own words."""

    title: str
    message: str
    action_url: str | None = None
    auto_close: bool | None = None
    """None: as its type has it."""


class Content:
    """Brings stored contents into words. ``locale``: for whom has chosen none."""

    def __init__(self, templates: Templates, locale: Locale = DEFAULT_LOCALE) -> None:
        self.templates = templates
        self.locale = locale

    def render(
        self, type_: str, template: str | None, content: str, locale: Locale | None = None
    ) -> Rendered:
        """A stored notification as it is read.

        Raises ``ValidationFailed`` for parameters that its template does not take any more.
        """
        if template is not None:
            parameters: JsonObject = msgspec.json.decode(content)
            return self.templates.render(template, parameters, locale or self.locale)
        text = msgspec.json.decode(content, type=Text)
        kind = msgspec.convert(type_, NotificationType)
        closes = closes_itself(kind) if text.auto_close is None else text.auto_close
        # Programs that embed the server, and earlier versions of it, store whatever they like.
        url = text.action_url if text.action_url and is_action_url(text.action_url) else None
        return Rendered(one_line(text.title), text.message, kind, url, closes)

    def digest(self, rendered: Sequence[Rendered], locale: Locale | None = None) -> Rendered:
        """One, or several as one."""
        if len(rendered) == 1:
            return rendered[0]
        return self.templates.digest(list(rendered), locale or self.locale)
