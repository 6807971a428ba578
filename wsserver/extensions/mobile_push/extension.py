"""The extension ``mobile_push``: push platforms for the channel ``push``."""

from __future__ import annotations

from typing import Final

from wsserver.extending import Extension, ExtensionContext, Part
from wsserver.extensions.mobile_push.options import Kind, PushApp, check_apps
from wsserver.notifications.channels.base import PushProvider


def build(context: ExtensionContext[dict[str, PushApp]]) -> Part:
    """A provider for each app; without one nothing more is imported."""
    return Part(
        push_providers=[
            _provider_of(app.kind, name, app, context) for name, app in context.options.items()
        ]
    )


def _provider_of(
    kind: Kind, name: str, app: PushApp, context: ExtensionContext[dict[str, PushApp]]
) -> PushProvider:
    if kind == "apns":
        from wsserver.extensions.mobile_push.apns import ApnsProvider

        return ApnsProvider(name, app, context.clock)
    if kind == "fcm":
        from wsserver.extensions.mobile_push.fcm import FcmProvider

        return FcmProvider(name, app, context.clock)
    from wsserver.extensions.mobile_push.jpush import JPushProvider

    return JPushProvider(name, app, context.clock)


MOBILE_PUSH: Final = Extension(
    name="mobile_push",
    build=build,
    options=dict[str, PushApp],
    check_options=check_apps,
)
