"""Errors that a user can act on.

Every error says what happened, to which object, and (where there is one) the remedy. `reason` is one CamelCase word
that programs may match on: it becomes the reason of a condition or of an Event.
"""

from __future__ import annotations


class VkError(Exception):
    """Base of all errors of this package. `str(error)` is one line for a person."""

    reason = "Error"

    def __init__(self, message: str, *, reason: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if reason:
            self.reason = reason

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class ConfigError(VkError):
    """A kubeconfig, a setting or a MemberCluster that cannot be used as it is."""

    reason = "InvalidConfiguration"


class NameTakenError(VkError):
    """Something in a member has a name that is needed, and is not ours to touch."""

    reason = "NameConflict"


class NotMountedError(VkError):
    """Something that a pod mounts cannot be had. The reason is the one of a kubelet's Event."""

    reason = "FailedMount"


class UnreachableError(VkError):
    """No HTTP answer: refused, reset, timed out, or TLS failed. Whether a write took effect is unknown."""

    reason = "Unreachable"


class ApiError(VkError):
    """An API server answered with an error status (https://kubernetes.io/docs/reference/using-api/api-concepts/).

    `status` is the HTTP status; `reason` is the Status object's reason, e.g. `NotFound`; `retry_after` is in seconds,
    and None where the server did not ask for a pause.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.retry_after = retry_after


class NotFoundError(ApiError):
    """404: the object or the resource type does not exist."""


class UnauthorizedError(ApiError):
    """401: the credential is not accepted (wrong, expired or revoked)."""


class ForbiddenError(ApiError):
    """403: not permitted, or refused by admission (quota, Pod Security, a policy)."""


class ConflictError(ApiError):
    """409: the object exists already (reason AlreadyExists), or a precondition (UID, resourceVersion) did not hold."""


class GoneError(ApiError):
    """410: the resourceVersion is too old; list again."""


class InvalidError(ApiError):
    """400 and 422: the server will not take this object as it is."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
}


def api_error(status: int, reason: str, message: str, retry_after: float | None = None) -> ApiError:
    """The ApiError subclass that stands for an HTTP status."""
    return _BY_STATUS.get(status, ApiError)(status, reason, message, retry_after=retry_after)
