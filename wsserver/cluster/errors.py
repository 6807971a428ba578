"""Errors of the start of a node that do not pass without a change of its settings."""

from __future__ import annotations


class ClusterUnusable(Exception):
    """A setting that cannot work: its key, and what is wrong, without secrets."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class NodeNameTaken(ClusterUnusable):
    """Another living node has the configured name.

    ``until``: end of its lease, in milliseconds of the server's time.
    """

    def __init__(self, node: str, until: float = 0.0) -> None:
        super().__init__(
            "node",
            f"{node!r} is the name of another running node of this cluster;"
            " each node needs a name of its own",
        )
        self.node = node
        self.until = until


class ForeignCluster(ClusterUnusable):
    """Redis is in use by nodes with another database; ``until`` as that of ``NodeNameTaken``."""

    def __init__(self, theirs: str, nodes: str, own: str, until: float = 0.0) -> None:
        super().__init__(
            "redis_url",
            f"is in use by a cluster with another database: {theirs} of {nodes}, not {own};"
            " all nodes of a cluster have one database (database_url), and each cluster has a Redis"
            " of its own",
        )
        self.until = until
