"""Network facts below HTTP: name look-up, TCP connections, TLS certificate."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence

from wsctl.doctor.background_call import BackgroundCall
from wsctl.doctor.facts import Certificate, Endpoint, Maybe, Missing, Name, Tls
from wsctl.http.connection import look_up, open_tls, reason_of


def resolve(host: str, port: int, timeout_s: float) -> Maybe[Name]:
    """The addresses of a host name."""
    began = time.monotonic()
    try:
        found = look_up(host, port, began + timeout_s)
    except OSError as error:
        return Missing(reason_of(error))
    addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in found))
    return Name(addresses, time.monotonic() - began)


def try_connect(addresses: Sequence[str], port: int, timeout_s: float) -> tuple[Endpoint, ...]:
    """Connect to all addresses in parallel."""
    tries = [
        BackgroundCall(lambda address=address: _try_connect(address, port, timeout_s))  # type: ignore[misc]
        for address in addresses
    ]
    return tuple(each.result() for each in tries)


def _try_connect(address: str, port: int, timeout_s: float) -> Endpoint:
    began = time.monotonic()
    try:
        with socket.create_connection((address, port), timeout=timeout_s):
            return Endpoint(address, time.monotonic() - began)
    except OSError as error:
        return Endpoint(address, time.monotonic() - began, reason_of(error))


def handshake(host: str, port: int, timeout_s: float) -> Tls:
    """A TLS handshake that verifies the certificate; an untrusted certificate is read as well.

    Nothing is sent to a server whose certificate is not trusted.
    """
    began = time.monotonic()
    fault, version, certificate = "", "", None
    try:
        with open_tls(host, port, began + timeout_s) as secure:
            version = secure.version() or ""
            certificate = _certificate(secure)
    except ssl.SSLCertVerificationError as error:
        fault = error.verify_message
        certificate = _distrusted(host, port, timeout_s)
    except OSError as error:
        fault = error.reason if isinstance(error, ssl.SSLError) else reason_of(error)
        fault = (fault or "it failed").replace("_", " ").lower()
    return Tls(time.monotonic() - began, version.replace("TLSv", "TLS "), fault, certificate)


def _distrusted(host: str, port: int, timeout_s: float) -> Certificate | None:
    """The certificate of an untrusted server; None: there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with open_tls(host, port, time.monotonic() + timeout_s, context) as secure:
            return _certificate(secure)
    except OSError:
        return None


def _certificate(secure: ssl.SSLSocket) -> Certificate | None:
    from cryptography import x509
    from cryptography.x509.oid import ExtensionOID, NameOID

    encoded = secure.getpeercert(binary_form=True)
    if not encoded:
        return None
    try:
        found = x509.load_der_x509_certificate(encoded)
        try:
            alternatives = found.extensions.get_extension_for_oid(
                ExtensionOID.SUBJECT_ALTERNATIVE_NAME
            ).value
            assert isinstance(alternatives, x509.SubjectAlternativeName)  # noqa: S101
            names = [str(each.value) for each in alternatives]
        except x509.ExtensionNotFound:
            names = [
                str(a.value) for a in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            ]
        issuers = [
            str(attribute.value)
            for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
            for attribute in found.issuer.get_attributes_for_oid(kind)
        ]
        return Certificate(
            names=tuple(names),
            issuer=issuers[0] if issuers else "unknown",
            not_before=found.not_valid_before_utc.timestamp(),
            not_after=found.not_valid_after_utc.timestamp(),
            is_self_signed=found.issuer == found.subject,
        )
    except ValueError:  # an unreadable certificate counts as none
        return None
