"""Authentication and permissions: tokens, tickets, keys, revocations, roles, origins, hosts."""

from __future__ import annotations

from wsserver.identity.claim_parser import parse_claims
from wsserver.identity.claims import Claims
from wsserver.identity.extract import Credential, extract_credential
from wsserver.identity.ids import is_id, is_user_id
from wsserver.identity.jwks import JwksKeys
from wsserver.identity.keys import FileKeys, KeySource, SecretKeys
from wsserver.identity.origins import Hosts, Origins
from wsserver.identity.permissions import ALL_PERMISSIONS, DEFAULT_ROLES, Permissions
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets
from wsserver.identity.tokens import TokenVerifier, algorithms_for, sign_hmac

__all__ = [
    "ALL_PERMISSIONS",
    "DEFAULT_ROLES",
    "Claims",
    "Credential",
    "FileKeys",
    "Hosts",
    "JwksKeys",
    "KeySource",
    "Origins",
    "Permissions",
    "Revocations",
    "SecretKeys",
    "Tickets",
    "TokenVerifier",
    "algorithms_for",
    "extract_credential",
    "is_id",
    "is_user_id",
    "parse_claims",
    "sign_hmac",
]
