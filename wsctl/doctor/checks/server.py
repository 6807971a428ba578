"""Checks of the server's capacity and load."""

from __future__ import annotations

from wsctl.doctor.checks.network import is_wsserver
from wsctl.doctor.facts import Document, Facts, Missing, answered, member, needed, number
from wsctl.doctor.findings import Finding, failed, ok, skipped, warning

_NEARLY = 0.9
_UNLIMITED = 2**31
_CLOCK_S = 5.0
"""Beyond it, times in lists and expiries of different nodes contradict each other."""
_UPLOAD_FOLDER = "data_dir/files"
_SPARE = 436
"""With the 64 that are reserved, the 500 above ``max_connections`` of docs/deployment.rst."""
_NO_ACCESS = "Use a token with stats:read."


def connections(facts: Facts) -> Finding:
    """Whether more clients can connect."""
    found = needed(of_health(facts, "connections"))
    opened, limit = number(found, "open") or 0, number(found, "limit") or 0
    what = f"{opened:,.0f} of {limit:,.0f}"
    data = {"open": int(opened), "limit": int(limit)}
    do = "Raise max_connections and the descriptor limit, or add a node."
    if found.get("ok") is not True:
        return failed(f"full: {what}", do, **data)
    return warning(what, do, **data) if opened >= _NEARLY * limit else ok(what, **data)


def descriptors(facts: Facts) -> Finding:
    """Whether the descriptor limit allows ``max_connections``."""
    diagnostics = needed(answered(facts.diagnostics), hint(facts))
    opened, limit, kept_back = (
        number(diagnostics, "descriptors", name) for name in ("open", "limit", "kept_back")
    )
    most = number(diagnostics, "max_connections")
    if opened is None or limit is None or most is None:
        return skipped("not reported by the server")
    kept_back = kept_back or 0
    data = {"open": int(opened), "limit": int(limit), "max_connections": int(most)}
    if limit >= _UNLIMITED:
        return ok(f"{opened:,.0f} open, without a limit", **data)
    wanted = most + kept_back + _SPARE
    what = f"{opened:,.0f} of {limit:,.0f} open"
    raise_it = f"Raise the hard limit to {wanted:,.0f} (systemd: LimitNOFILE={wanted:.0f})"
    if opened >= limit - kept_back:
        return failed(f"{what}: new connections wait in the kernel's queue", f"{raise_it}.", **data)
    if limit < most + kept_back:
        reach = max(0.0, limit - kept_back)
        return warning(
            f"{what}: enough for about {reach:,.0f} connections, max_connections is {most:,.0f}",
            f"{raise_it}, or lower max_connections.",
            **data,
        )
    if opened >= _NEARLY * (limit - kept_back):
        return warning(what, f"{raise_it}.", **data)
    return ok(f"{what}, enough for max_connections ({most:,.0f})", **data)


def clocks(facts: Facts) -> Finding:
    """Whether the clocks of nodes, Redis and database agree."""
    diagnostics = needed(answered(facts.diagnostics), hint(facts))
    found = member(diagnostics, "clocks")
    if not found:
        return skipped("not reported by the server")
    ahead = {f"node {name}": number(found, "nodes", name) for name in member(found, "nodes")}
    ahead |= {"Redis": number(found, "redis"), "PostgreSQL": number(found, "database")}
    known = {name: seconds for name, seconds in ahead.items() if seconds is not None}
    if not known:
        return skipped("all on the server's machine")
    wrong = {name: seconds for name, seconds in known.items() if abs(seconds) > _CLOCK_S}
    data = {"ahead_s": known}
    if wrong:
        named = ", ".join(f"{name} by {seconds:+,.1f} s" for name, seconds in wrong.items())
        return warning(
            f"differ from this node's clock: {named}",
            "Synchronize the clocks of all machines (chrony, systemd-timesyncd).",
            **data,
        )
    most_s = max(map(abs, known.values()))
    return ok(f"differ by {most_s:.1f} s at most", **data)


def settings(facts: Facts) -> Finding:
    """Whether all nodes have the settings that they have to share."""
    diagnostics = needed(answered(facts.diagnostics), hint(facts))
    found = diagnostics.get("differing_settings")
    if not isinstance(found, dict):
        return skipped(NOT_REPORTED)
    by_node = {
        str(node): sorted(map(str, names))
        for node, names in found.items()
        if isinstance(names, list) and names
    }
    if not by_node:
        return ok("no node has others")
    data = {"by_node": by_node}
    named = "; ".join(f"{node}: {', '.join(names)}" for node, names in by_node.items())
    what = f"others than on this node: {named}"
    differing = {name for names in by_node.values() for name in names}
    advice = []
    if differing - {_UPLOAD_FOLDER}:
        advice.append(
            "Copy the settings from one machine to all others, and restart the nodes one by one."
        )
    if _UPLOAD_FOLDER in differing:
        advice.append(
            "Files can be read only on the machine that they were uploaded to: let the machines"
            f" share {_UPLOAD_FOLDER}, or set file_store_url."
        )
    do = " ".join(advice)
    is_of_tokens = any(name.startswith("jw") for name in differing)
    return (failed if is_of_tokens else warning)(what, do, **data)


def loop(facts: Facts) -> Finding:
    """Whether the event loop lags."""
    found = needed(of_health(facts, "loop"))
    lag = number(found, "lag_ms") or 0.0
    if found.get("ok") is not True:
        do = "Check what keeps the processor busy: plugins, many joins at once, another process."
        return failed(f"the event loop lags by {lag:,.1f} ms", do, lag_ms=lag)
    return ok(f"the event loop lags by {lag:,.1f} ms", lag_ms=lag)


def errors(facts: Facts) -> Finding:
    """Whether the error-rate alert is raised."""
    found = needed(of_health(facts, "errors"))
    threshold, window = number(found, "threshold") or 0.0, number(found, "window_s") or 0.0
    limit = f"{threshold:.1%} of operations failed in the last {window:.0f} s"
    data = {"threshold": threshold, "window_s": window}
    if found.get("ok") is not True:
        do = "See which ones with: wsctl monitor --events 'event', and the server's log."
        return failed(f"more than {limit}", do, **data)
    return ok(f"less than {limit}", **data)


def nodes(facts: Facts) -> Finding:
    """Whether all nodes are up, answer, and have the same version."""
    reply = facts.nodes
    is_refused = not isinstance(reply, Missing) and reply.status == 403
    found = needed(answered(reply), "Use a token with connections:read." if is_refused else "")
    listed = found.get("nodes")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    silent = found.get("unreachable")
    silent = sorted(map(str, silent)) if isinstance(silent, list) else []
    lost = [str(row.get("node")) for row in rows if row.get("state") == "lost"]
    draining = [str(row.get("node")) for row in rows if row.get("state") == "draining"]
    versions = sorted({str(row.get("version")) for row in rows if row.get("state") != "lost"})
    data = {"nodes": rows, "unreachable": silent}
    if silent:
        return failed(
            f"no answer from {', '.join(silent)}",
            "See whether its process hangs (its log, its processor), and restart it.",
            **data,
        )
    if lost:
        return warning(
            f"lost: {', '.join(lost)}",
            "It has stopped without draining: see its log, and start it again.",
            **data,
        )
    if len(versions) > 1:
        return warning(
            f"different versions: {', '.join(versions)}", "Finish the upgrade of all nodes.", **data
        )
    also = f", draining: {', '.join(draining)}" if draining else ""
    names = ", ".join(str(row.get("node")) for row in rows)
    return ok(f"{names}{also}", **data)


NOT_REPORTED = "not reported by the server"


def of_health(facts: Facts, name: str) -> Document | Missing:
    """One check of ``/health``."""
    if isinstance(facts.health, Missing):
        return facts.health
    if not is_wsserver(facts.health):
        return Missing("the answer is not from a wsserver")
    found = facts.health.object["checks"].get(name)
    return found if isinstance(found, dict) else Missing(NOT_REPORTED)


def hint(facts: Facts) -> str:
    """How to make the check possible."""
    reply = facts.diagnostics
    return _NO_ACCESS if not isinstance(reply, Missing) and reply.status == 403 else ""
