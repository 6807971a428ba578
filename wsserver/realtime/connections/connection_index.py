"""Connections by user, session or organization, in little memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wsserver.realtime.connections.connection import ConnectionInfo

Entry = ConnectionInfo | dict[str, ConnectionInfo]


class Index(Mapping[str, set[str]]):
    """Connections by a key. As a mapping: from the key to the set of connection ids.

    Most users have one connection, so one is held as it is; a set for it alone would take 216
    bytes. Several are in a dict, in the order of coming.
    """

    __slots__ = ("_entries", "pairs")

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.pairs = 0
        """Connections, summed over the keys."""

    def add(self, key: str, connection: ConnectionInfo) -> bool:
        """Put a connection under a key; True if it is the first one there."""
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = connection
            self.pairs += 1
            return True
        if not isinstance(entry, dict):
            if entry is connection:
                return False
            entry = self._entries[key] = {entry.connection_id: entry}
        before = len(entry)
        entry[connection.connection_id] = connection
        self.pairs += len(entry) - before
        return False

    def discard(self, key: str, connection: ConnectionInfo) -> bool:
        """Take a connection away; True if the key is gone with it."""
        entry = self._entries.get(key)
        if isinstance(entry, dict):
            if entry.pop(connection.connection_id, None) is not None:
                self.pairs -= 1
            if not entry:
                del self._entries[key]
        elif entry is connection:
            self.pairs -= 1
            del self._entries[key]
        else:
            return False
        return key not in self._entries

    def connections(self, key: str) -> list[ConnectionInfo]:
        """The connections under a key, in the order of coming."""
        entry = self._entries.get(key)
        if entry is None:
            return []
        return list(entry.values()) if isinstance(entry, dict) else [entry]

    def count(self, key: str) -> int:
        """How many connections are under a key."""
        entry = self._entries.get(key)
        if entry is None:
            return 0
        return len(entry) if isinstance(entry, dict) else 1

    def __getitem__(self, key: str) -> set[str]:
        entry = self._entries[key]
        return set(entry) if isinstance(entry, dict) else {entry.connection_id}

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(dict(self))
