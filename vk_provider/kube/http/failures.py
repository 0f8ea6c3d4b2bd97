"""The typed errors that failures of requests become. No message contains a credential."""

from __future__ import annotations

import re
import ssl
from typing import Final

import aiohttp
import msgspec

from vk_provider.errors import ApiError, UnreachableError, api_error

_NAME_MISMATCH: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_OUT_OF_DATE: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_LONGEST_PAUSE: Final = 600.0  # seconds of Retry-After
_USER_OF_URL: Final = re.compile(r"(?<=://)[^/\s]*@")


def unreachable(server: str, error: BaseException) -> UnreachableError:
    """The error of a failed connection; with a remedy if the server's certificate is not trusted."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        cause: BaseException = getattr(error, "certificate_error", error)
        code, text = getattr(cause, "verify_code", 0), getattr(cause, "verify_message", cause)
        wrong = "server and tls-server-name" if code in _NAME_MISMATCH else "certificate-authority-data"
        expired = code in _OUT_OF_DATE
        return UnreachableError(
            f"{server}: its certificate is not trusted: {text}",
            reason="CertificateExpired" if expired else "CertificateInvalid",
            remedy="renew it, or set the clock of this machine" if expired else f"check {wrong} of the kubeconfig",
        )
    if isinstance(error, TimeoutError):
        return UnreachableError(f"{server}: no answer in time")
    if isinstance(error, aiohttp.ClientHttpProxyError):  # its text has the URL of the proxy, with the password
        return UnreachableError(
            f"{server}: the proxy answers HTTP {error.status} {error.message}".rstrip(),
            remedy="check proxy-url of the kubeconfig, HTTPS_PROXY and NO_PROXY",
        )
    text = _USER_OF_URL.sub("", " ".join(str(error).split())) or type(error).__name__
    return UnreachableError(f"{server}: {text}")


class _Cause(msgspec.Struct):
    field: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] | None = None


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None

    @property
    def uid_differs(self) -> bool:
        """Whether a patch with `metadata.uid` met another UID; servers report a change of an immutable field."""
        causes = self.details.causes if self.details else None
        return any(cause.field == "metadata.uid" for cause in causes or ())


def failure(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    """The error of a refused request, with the server's message and its Retry-After.

    API servers do not redirect. What else does is not followed, and its text is not shown: it may lead anywhere
    (Kubernetes forbids aggregated API servers the same: CVE-2022-3172).
    """
    if 300 <= response.status < 400:
        message = f"it redirects (HTTP {response.status}), and is not a Kubernetes API server"
        return api_error(response.status, "NotKubernetes", message)
    try:
        status = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        status = _Status(message=body[:200].decode(errors="replace").strip())
    message = status.message or f"HTTP {response.status} {response.reason}"
    retry_after = response.headers.get("Retry-After", "")
    seconds = min(float(retry_after), _LONGEST_PAUSE) if retry_after.isdecimal() else None
    if status.uid_differs:
        return api_error(409, "Conflict", message)
    return api_error(response.status, status.reason or str(response.reason), message, seconds)
