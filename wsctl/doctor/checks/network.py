"""Checks of address, DNS, TCP, TLS and HTTP."""

from __future__ import annotations

from urllib.parse import urlsplit

from wsctl.doctor.facts import Certificate, Facts, Missing, Reply, answered, needed
from wsctl.doctor.findings import Finding, failed, ok, skipped, warning
from wsctl.formatting import ms
from wsctl.times import readable, rfc3339

DAY_S = 86_400.0
_SOON_S, _NOW_S = 21 * DAY_S, 7 * DAY_S
_SLOW_LOOK_UP_S = 1.0


def address(facts: Facts) -> Finding:
    """Which server is checked, and the source of its address."""
    found = facts.configuration
    return ok(f"{found.url}, from {found.url_from}", url=found.url, url_from=found.url_from)


def dns(facts: Facts) -> Finding:
    """Whether the host name resolves."""
    host = urlsplit(facts.configuration.url).hostname
    if isinstance(facts.name, Missing):
        return failed(
            f"{host}: {facts.name.why}",
            "Correct the address (--url, WSCTL_URL or the context), or the name server's entry.",
        )
    took = facts.name.seconds
    what = f"{', '.join(facts.name.addresses)} in {ms(took)}"
    data = {"addresses": list(facts.name.addresses), "seconds": took}
    if took > _SLOW_LOOK_UP_S:
        return warning(what, "Look at this machine's name servers (/etc/resolv.conf).", **data)
    return ok(what, **data)


def tcp(facts: Facts) -> Finding:
    """Whether the server's addresses accept connections."""
    endpoints = needed(facts.endpoints)
    closed = [endpoint for endpoint in endpoints if endpoint.fault]
    data = {"addresses": {endpoint.address: endpoint.fault or "open" for endpoint in endpoints}}
    faults = "; ".join(f"{endpoint.address}: {endpoint.fault}" for endpoint in closed)
    if len(closed) == len(endpoints):
        return failed(
            faults,
            "Start the server, or open the port in the firewall between here and it.",
            **data,
        )
    if closed:
        return warning(
            faults,
            "Clients try this address too and wait for it: let the server listen there (host),"
            " or remove the address from the name server's entry.",
            **data,
        )
    quickest = min(endpoint.seconds for endpoint in endpoints)
    return ok(f"connected in {ms(quickest)}", seconds=quickest, **data)


def tls(facts: Facts) -> Finding:
    """Whether the certificate is trusted and valid for this name, and for how long."""
    if not facts.configuration.url.startswith("https:"):
        return _without_tls(facts)
    found = needed(facts.tls)
    certificate = found.certificate
    if certificate is None:
        if not found.fault:
            return ok(f"{found.version} in {ms(found.seconds)}")
        return failed(
            f"no TLS: {found.fault}", "Use http:// if the server has no TLS, else fix the proxy."
        )
    left_s = certificate.not_after - facts.checked_at
    data = {
        "not_after": rfc3339(certificate.not_after),
        "days_left": round(left_s / DAY_S, 1),
        "names": list(certificate.names),
        "issuer": certificate.issuer,
    }
    if found.fault:
        return _untrusted(facts, found.fault, certificate, data)
    what = f"{found.version}, trusted, valid for {readable(left_s)}, issued by {certificate.issuer}"
    renew = "Renew the certificate, and check why automatic renewal failed."
    if left_s < _NOW_S:
        return failed(what, renew, **data)
    if left_s < _SOON_S:
        return warning(what, renew, **data)
    return ok(what, **data)


def _without_tls(facts: Facts) -> Finding:
    host = urlsplit(facts.configuration.url).hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return ok("not used, and not needed on this machine")
    return warning(
        "not used: others on the network can read the token and every message",
        "Put a proxy with a certificate in front, and use its https:// address.",
    )


def _untrusted(
    facts: Facts, fault: str, certificate: Certificate, data: dict[str, object]
) -> Finding:
    now = facts.checked_at
    if certificate.not_after < now:
        what = f"expired {readable(now - certificate.not_after)} ago"
        do = "Renew the certificate and have the proxy read it (nginx -s reload)."
    elif certificate.not_before > now:
        what = f"not valid before {rfc3339(certificate.not_before)}"
        do = "Set this machine's clock, or wait until the certificate begins."
    elif certificate.is_self_signed:
        what = "self-signed and not trusted"
        do = "Use a certificate of an authority, or name your own in SSL_CERT_FILE."
    elif "hostname" in fault.lower() or "ip address" in fault.lower():
        what = f"issued for {', '.join(certificate.names) or 'no name'}, not for this host"
        do = "Use a name in the certificate as the address, or get one for this name."
    else:
        what = f"not trusted ({fault}), issued by {certificate.issuer}"
        do = "Serve the whole chain (fullchain.pem), or name your authority in SSL_CERT_FILE."
    return failed(f"the certificate is {what}", do, **data)


def http(facts: Facts) -> Finding:
    """Whether a wsserver answers HTTP requests."""
    reply = facts.health
    if isinstance(reply, Missing):
        if _is_untested(facts):
            return skipped(reply.why)
        return failed(
            f"it accepts connections but does not answer: {reply.why}",
            "Check its log: it may hang, be stopped, or have no file descriptors left.",
        )
    if not is_wsserver(reply):
        return _other_server(reply)
    whoami = answered(facts.whoami)
    version = "" if isinstance(whoami, Missing) else f" {whoami.get('version', '')}"
    state = str(reply.object["status"])
    data = {"seconds": reply.seconds, "status": state, "version": version.strip() or None}
    what = f"wsserver{version} answered in {ms(reply.seconds)}, {state}"
    if state == "starting":
        return failed(what, "Wait: it accepts clients once its database is open.", **data)
    if state == "draining":
        return failed(what, "Wait: it is stopping and accepts no more clients.", **data)
    return ok(what, **data)


def _is_untested(facts: Facts) -> bool:
    """Whether there was no connection to send the request over."""
    if isinstance(facts.endpoints, Missing) or all(endpoint.fault for endpoint in facts.endpoints):
        return True
    is_tls = facts.configuration.url.startswith("https:")
    return is_tls and (isinstance(facts.tls, Missing) or bool(facts.tls.fault))


def is_wsserver(reply: Reply) -> bool:
    """Whether an answer to ``/health`` is a wsserver's."""
    document = reply.object
    return isinstance(document.get("status"), str) and isinstance(document.get("checks"), dict)


def _other_server(reply: Reply) -> Finding:
    who = reply.headers.get("server", "")
    what = f"something else answers with {reply.status}" + (f" ({who})" if who else "")
    if reply.status in (502, 503, 504):
        do = "Start the server behind this proxy, or correct the proxy's target."
    elif reply.code == "host_forbidden":
        what = "the server does not allow this host name"
        do = "Add the name to allowed_hosts, or let the proxy forward Host."
    else:
        do = "Correct the address: below it must be /api/v1/websocket/health of a wsserver."
    return failed(what, do, status=reply.status)
