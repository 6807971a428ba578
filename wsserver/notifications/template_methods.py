"""Methods of ``NotificationService`` for the built-in templates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from wsserver.notifications.delivery_policy import Sending
from wsserver.notifications.recipients import Recipients
from wsserver.storage.notifications.notification_rows import Notification


class TemplateMethods(ABC):
    """One method for each template; ``sending`` and errors as in ``NotificationService``."""

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
        self,
        recipients: Recipients,
        *,
        device_id: str,
        device_name: str,
        old_status: str,
        new_status: str,
        sending: Sending | None = None,
    ) -> Notification | None:
        """The status of a device has changed.

        Statuses such as ``online``, ``offline``, ``risk_control``, ``banned`` are translated.
        """
        return await self._send_known(
            recipients,
            "device_status",
            sending,
            device_id=device_id,
            device_name=device_name,
            old_status=old_status,
            new_status=new_status,
        )

    async def send_device_reconnect_notification(
        self,
        recipients: Recipients,
        *,
        device_id: str,
        device_name: str,
        attempt: int | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """A device tries to reconnect; ``attempt`` counts from 1."""
        return await self._send_known(
            recipients,
            "device_reconnect",
            sending,
            device_id=device_id,
            device_name=device_name,
            attempt=attempt,
        )

    async def send_risk_alert_notification(
        self,
        recipients: Recipients,
        *,
        device_id: str,
        device_name: str,
        reason: str,
        sending: Sending | None = None,
    ) -> Notification | None:
        """The platform's risk control has flagged a device."""
        return await self._send_known(
            recipients,
            "risk_alert",
            sending,
            device_id=device_id,
            device_name=device_name,
            reason=reason,
        )

    async def send_ai_status_notification(
        self,
        recipients: Recipients,
        *,
        session_id: str,
        status: str,
        detail: str | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """Status of the AI in a session."""
        return await self._send_known(
            recipients,
            "ai_status",
            sending,
            session_id=session_id,
            status=status,
            detail=detail,
        )

    async def send_message_status_notification(
        self,
        recipients: Recipients,
        *,
        session_id: str,
        message_id: str,
        status: str,
        sending: Sending | None = None,
    ) -> Notification | None:
        """Status of a message."""
        return await self._send_known(
            recipients,
            "message_status",
            sending,
            session_id=session_id,
            message_id=message_id,
            status=status,
        )

    async def send_human_takeover_notification(
        self,
        recipients: Recipients,
        *,
        session_id: str,
        customer_name: str,
        reason: str | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """A customer asks for a human agent."""
        return await self._send_known(
            recipients,
            "human_takeover",
            sending,
            session_id=session_id,
            customer_name=customer_name,
            reason=reason,
        )

    async def send_cost_warning_notification(
        self,
        recipients: Recipients,
        *,
        used: float,
        quota: float,
        period: str,
        unit: str | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """80, 95 or 100 % of a quota are used.

        Sent once for each threshold, recipient and period; None if no new threshold is reached.
        """
        return await self._send_known(
            recipients,
            "cost_warning",
            sending,
            used=used,
            quota=quota,
            period=period,
            unit=unit,
        )

    async def send_budget_exceeded_notification(
        self,
        recipients: Recipients,
        *,
        used: float,
        budget: float,
        period: str,
        currency: str | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """A budget is exceeded.

        Sent once for a recipient and period; None if it was sent, or the budget is not exceeded.
        """
        return await self._send_known(
            recipients,
            "budget_exceeded",
            sending,
            used=used,
            budget=budget,
            period=period,
            currency=currency,
        )

    async def send_usage_report_notification(
        self,
        recipients: Recipients,
        *,
        period: str,
        used: float,
        quota: float,
        unit: str | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """Usage in a period."""
        return await self._send_known(
            recipients,
            "usage_report",
            sending,
            period=period,
            used=used,
            quota=quota,
            unit=unit,
        )

    async def send_maintenance_notification(
        self,
        recipients: Recipients,
        *,
        starts_at: str,
        ends_at: str,
        detail: str | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """Time of a maintenance; the times are inserted unchanged."""
        return await self._send_known(
            recipients,
            "maintenance",
            sending,
            starts_at=starts_at,
            ends_at=ends_at,
            detail=detail,
        )

    async def send_feature_update_notification(
        self,
        recipients: Recipients,
        *,
        summary: str,
        version: str | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """New features."""
        return await self._send_known(
            recipients,
            "feature_update",
            sending,
            summary=summary,
            version=version,
        )

    async def send_security_alert_notification(
        self,
        recipients: Recipients,
        *,
        event: str,
        detail: str | None = None,
        ip: str | None = None,
        sending: Sending | None = None,
    ) -> Notification | None:
        """A security event of an account."""
        return await self._send_known(
            recipients,
            "security_alert",
            sending,
            event=event,
            detail=detail,
            ip=ip,
        )

    async def _send_known(
        self, recipients: Recipients, template: str, sending: Sending | None, **params: Any
    ) -> Notification | None:
        given = {name: value for name, value in params.items() if value is not None}
        if sending is None:
            return await self.send_template(recipients, template, given)
        return await self.send_template(recipients, template, given, sending)
