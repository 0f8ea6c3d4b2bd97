"""How long the credential of a kubeconfig is valid: read from the credential itself, without asking a server.

A token of a service account is a JWT (RFC 7519) with `iat` and `exp`; a certificate has a validity period. A token of
another form, or a password, shows no end.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography import x509

from vk_provider.kube.auth.kubeconfig import Kubeconfig

_LATEST_WARNING: Final = timedelta(days=7)


@dataclass(frozen=True)
class Validity:
    """The period in which a credential is valid. `kind` says what ends, for messages."""

    kind: str
    begins: datetime
    ends: datetime

    @property
    def warn_at(self) -> datetime:
        """When users should be warned: a fifth of its life before its end, and at most a week."""
        return self.ends - min((self.ends - self.begins) / 5, _LATEST_WARNING)


class _Claims(msgspec.Struct):
    exp: float
    iat: float = 0.0


def validity(kubeconfig: Kubeconfig) -> Validity | None:
    """The period that ends first; None if nothing in the kubeconfig shows an end."""
    found = [each for each in (_of_token(kubeconfig.user), _of_certificate(kubeconfig.user)) if each]
    return min(found, key=lambda each: each.ends, default=None)


def _of_token(user: Mapping[str, Any]) -> Validity | None:
    parts = str(user.get("token", "")).split(".")
    if len(parts) != 3:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = msgspec.json.decode(payload, type=_Claims)
        return Validity("token", _moment(claims.iat or claims.exp), _moment(claims.exp))
    except (binascii.Error, ValueError, OverflowError, OSError):
        return None  # not a JWT, or one without an end


def _of_certificate(user: Mapping[str, Any]) -> Validity | None:
    try:
        data = base64.b64decode(str(user.get("client-certificate-data") or ""))
        certificate = x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        return None  # there is none
    return Validity("client certificate", certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
