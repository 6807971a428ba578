"""Jobs to send, and TLS certificates for servers of tests."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from wsserver.notifications.channels.base import Job
from wsserver.protocol.notifications import Contact
from wsserver.redaction import Redactor

CANARY = "canary-7d1f0c"
REDACT = Redactor([CANARY])
CREATED_AT = 1_700_000_000.0


def job(contact: Contact | None = None, **changes: Any) -> Job:
    """A job that is due, with Chinese text."""
    fields: dict[str, Any] = {
        "delivery_id": "delivery_01",
        "notification_id": "notify_01",
        "user_id": "u1",
        "attempt": 1,
        "title": "设备状态变化",
        "message": "设备 张三的微信 状态从 在线 变更为 离线",
        "type": "warning",
        "action_url": "/devices/7",
        "auto_close": False,
        "created_at": CREATED_AT,
        "expires_at": CREATED_AT + 3600,
        "locale": "zh-CN",
        "contact": contact or Contact(user_id="u1"),
    }
    return Job(**fields | changes)


class Certificates:
    """A certificate for localhost and 127.0.0.1, with contexts for both sides."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        names: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM)
        path = folder / "server.pem"
        path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(path)
        self.client = ssl.create_default_context(cadata=pem.decode())
