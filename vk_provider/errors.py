"""Errors that a user can act on.

Every message says what happened, to which object, and the remedy if there is one. `reason` is one CamelCase word for
programs: it becomes the reason of a condition or of an Event. `counted` is for all messages.
"""

from __future__ import annotations

from typing import Final

INTERRUPTED: Final = 130  # exit code: 128 + SIGINT, as shells report it


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
    """A kubeconfig, a setting or a MemberCluster is not valid, or does not fit the cluster."""

    reason = "InvalidConfiguration"


class RefusedError(ConfigError):
    """There is no usable credential for a member, or it does not accept the one that there is. It may live.

    `answered`: the member did answer, over verified TLS.
    """

    reason = "Unauthorized"

    def __init__(self, message: str, *, reason: str = "", remedy: str = "", answered: bool = False) -> None:
        super().__init__(message, reason=reason, remedy=remedy)
        self.answered = answered


class NameTakenError(VkError):
    """An object in a member has the name of one that the provider needs, and does not belong to the provider."""

    reason = "NameConflict"


class NamespaceExcludedError(VkError):
    """The pods of a namespace must not run in the member. The reason is that of the pod's Event and waiting state."""

    reason = "NamespaceExcluded"


class NotMountedError(VkError):
    """An object that a pod mounts is not available. The reason is that of a kubelet's Event."""

    reason = "FailedMount"


class UnreachableError(VkError):
    """No HTTP answer: refused, reset, timed out, or TLS failed. It is unknown whether a write took effect."""

    reason = "Unreachable"


class ApiError(VkError):
    """An API server answered with an error status (https://kubernetes.io/docs/reference/using-api/api-concepts/).

    `status` is the HTTP status; `reason` is the reason of the Status object, such as `NotFound`; `retry_after` is in
    seconds, and None if the server did not demand a pause.
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
    """409: the object exists already (reason AlreadyExists), or a precondition (UID, resourceVersion) failed."""


class GoneError(ApiError):
    """410: the resourceVersion is too old; list again."""


class InvalidError(ApiError):
    """400 and 422: the object is not valid."""


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
    """The ApiError of an HTTP status."""
    return _BY_STATUS.get(status, ApiError)(status, reason, message, retry_after=retry_after)


def counted(number: int, noun: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
