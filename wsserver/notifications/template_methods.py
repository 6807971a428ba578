"""Methods of ``NotificationService`` for the built-in templates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Unpack

from wsserver.notifications.delivery_policy import AS_USUAL, Sending
from wsserver.notifications.parameters import (
    AiStatus,
    BudgetExceeded,
    ChatMessage,
    CostWarning,
    DeviceReconnect,
    DeviceStatus,
    FeatureUpdate,
    HumanTakeover,
    Maintenance,
    MessageStatus,
    RiskAlert,
    SecurityAlert,
    UsageReport,
)
from wsserver.notifications.recipients import Recipients
from wsserver.storage.notifications.notification_rows import Notification

_Sending = Sending | None


class TemplateMethods(ABC):
    """One method for each template; ``sending`` and errors as in ``NotificationService``.

    The other arguments are the parameters of the template; None is as if not given.
    """

    @abstractmethod
    async def send_template(
        self,
        recipients: Recipients,
        template: str,
        params: Mapping[str, Any],
        sending: Sending = ...,
    ) -> Notification | None:
        """Send a template."""

    async def send_device_status_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[DeviceStatus]
    ) -> Notification | None:
        """The status of a device has changed.

        Statuses such as ``online``, ``offline``, ``risk_control``, ``banned`` are translated.
        """
        return await self._send_known(recipients, "device_status", sending, params)

    async def send_device_reconnect_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[DeviceReconnect]
    ) -> Notification | None:
        """A device tries to reconnect; ``attempt`` counts from 1."""
        return await self._send_known(recipients, "device_reconnect", sending, params)

    async def send_risk_alert_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[RiskAlert]
    ) -> Notification | None:
        """The platform's risk control has flagged a device."""
        return await self._send_known(recipients, "risk_alert", sending, params)

    async def send_ai_status_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[AiStatus]
    ) -> Notification | None:
        """Status of the AI in a session."""
        return await self._send_known(recipients, "ai_status", sending, params)

    async def send_message_status_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[MessageStatus]
    ) -> Notification | None:
        """Status of a message."""
        return await self._send_known(recipients, "message_status", sending, params)

    async def send_human_takeover_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[HumanTakeover]
    ) -> Notification | None:
        """A customer asks for a human agent."""
        return await self._send_known(recipients, "human_takeover", sending, params)

    async def send_chat_message_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[ChatMessage]
    ) -> Notification | None:
        """A message in a session that the user has not seen; ``title``: of the session."""
        return await self._send_known(recipients, "chat_message", sending, params)

    async def send_cost_warning_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[CostWarning]
    ) -> Notification | None:
        """80, 95 or 100 % of a quota are used.

        Sent once for each threshold, recipient and period; None if no new threshold is reached.
        """
        return await self._send_known(recipients, "cost_warning", sending, params)

    async def send_budget_exceeded_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[BudgetExceeded]
    ) -> Notification | None:
        """A budget is exceeded.

        Sent once for a recipient and period; None if it was sent, or the budget is not exceeded.
        """
        return await self._send_known(recipients, "budget_exceeded", sending, params)

    async def send_usage_report_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[UsageReport]
    ) -> Notification | None:
        """Usage in a period."""
        return await self._send_known(recipients, "usage_report", sending, params)

    async def send_maintenance_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[Maintenance]
    ) -> Notification | None:
        """Time of a maintenance; the times are inserted unchanged."""
        return await self._send_known(recipients, "maintenance", sending, params)

    async def send_feature_update_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[FeatureUpdate]
    ) -> Notification | None:
        """New features."""
        return await self._send_known(recipients, "feature_update", sending, params)

    async def send_security_alert_notification(
        self, recipients: Recipients, *, sending: _Sending = None, **params: Unpack[SecurityAlert]
    ) -> Notification | None:
        """A security event of an account."""
        return await self._send_known(recipients, "security_alert", sending, params)

    async def _send_known(
        self, recipients: Recipients, template: str, sending: _Sending, params: Mapping[str, Any]
    ) -> Notification | None:
        given = {name: value for name, value in params.items() if value is not None}
        return await self.send_template(recipients, template, given, sending or AS_USUAL)
