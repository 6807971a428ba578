"""``ConsolePage``: a page of the console that an extension adds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ConsolePage:
    """A page in the console's navigation, and the JavaScript module that shows it.

    All modules, styles and pictures in the folder of ``module`` are served to everybody.
    """

    name: str
    """First segment of its address below ``/console``."""
    title: tuple[str, str]
    """In English and in Chinese."""
    module: Path
    """Exports ``show(context)``, as those in ``static/console/pages``."""
    permission: str | None = None
    """Who sees it; None: every role."""
    is_unconfined: bool = False
    """Not for roles that are confined to an organization."""

    def prefix(self, extension: str) -> str:
        """The folder of its files below ``/static``, for the extension that it is of."""
        return f"extensions/{extension}/{self.name}"

    def view(self, extension: str) -> dict[str, Any]:
        """The page as the console gets it."""
        return {
            "name": self.name,
            "title": self.title,
            "permission": self.permission,
            "is_unconfined": self.is_unconfined,
            "module": f"/static/{self.prefix(extension)}/{self.module.name}",
        }
