"""Shows when the credential of a member ends: the condition CredentialValid of its MemberCluster.

    True  CredentialValid       it ends later, or shows no end
    True  CredentialExpiresSoon a fifth of its life is left, or less; at most a week ahead
    False CredentialExpired     it has ended; the member refuses it

A credential that shows no end has the condition only if an earlier one had it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from vk_provider.api import wellknown
from vk_provider.kube.auth.expiry import Validity
from vk_provider.kube.timestamps import rfc3339
from vk_provider.observable import Observable

_AT_MOST: Final = 3600.0  # seconds between looks: clocks may be corrected
_AT_LEAST: Final = 1.0


class Report(Protocol):
    """Interface: what is reported of a member."""

    def has(self, type: str) -> bool: ...

    async def set_condition(self, type: str, status: str, reason: str, message: str) -> None: ...


def condition(validity: Validity | None, now: datetime, member: str) -> tuple[str, str, str]:
    """Status, reason and message."""
    if validity is None:
        return "True", wellknown.CREDENTIAL_VALID, "the credential shows no end"
    renew = f"; renew it: vk-provider join {member} --kubeconfig FILE"
    if now >= validity.ends:
        return "False", wellknown.CREDENTIAL_EXPIRED, f"the {validity.kind} ended at {rfc3339(validity.ends)}{renew}"
    message = f"the {validity.kind} ends at {rfc3339(validity.ends)}"
    if now >= validity.warn_at:
        return "True", wellknown.CREDENTIAL_EXPIRES_SOON, message + renew
    return "True", wellknown.CREDENTIAL_VALID, message


def until_next(validity: Validity | None, now: datetime) -> float:
    """Seconds until the condition may change."""
    moments = (validity.warn_at, validity.ends) if validity is not None else ()
    left = [(moment - now).total_seconds() for moment in moments if moment > now]
    return max(_AT_LEAST, min([*left, _AT_MOST]))


class CredentialLoop:
    """Keeps the condition until it is cancelled."""

    def __init__(
        self, validity: Observable[Validity | None], report: Report, now: Callable[[], datetime], member: str
    ) -> None:
        """`validity`: of the credential in use; it is set whenever one is read. `now`: the parent's clock."""
        self._validity, self._report, self._now, self._member = validity, report, now, member

    async def run(self) -> None:
        """Writes the condition once there is a credential, when it is replaced, and when time changes it."""
        changed = asyncio.Event()
        self._validity.subscribe(changed.set)
        await changed.wait()
        while True:
            changed.clear()
            found, now = self._validity.value, self._now()
            if found is not None or self._report.has(wellknown.CREDENTIAL):
                await self._report.set_condition(wellknown.CREDENTIAL, *condition(found, now, self._member))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_next(found, now)):
                    await changed.wait()
