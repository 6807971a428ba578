"""The HTTP side: REST API, its own description, and the socket endpoints up to the handshake."""

from __future__ import annotations
