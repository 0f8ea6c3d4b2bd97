"""Updates of running member pods: applies what has changed in the parent pod, as far as the member accepts it.

What the member refuses is reported and does not keep the rest away. Owns no state.
"""

from __future__ import annotations

from typing import Final

from vk_provider.api import wellknown
from vk_provider.errors import ApiError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS
from vk_provider.sync.pods.protocols import Event
from vk_provider.translate.pods.change import Change, changes, parts
from vk_provider.translate.pods.pod import Target

_OF_A_PART: Final = (400, 403, 404, 422)  # answers that one field of a patch may have caused
_FOR_GOOD: Final = (ForbiddenError, InvalidError, NotFoundError)  # an update is not tried again before the pod changes


class Updates:
    """See the module's text."""

    def __init__(self, target: Target, member: Client, member_pods: Informer[Pod], event: Event) -> None:
        self._target, self._member, self._member_pods, self._event = target, member, member_pods, event

    async def apply(self, parent: Pod, member: Pod) -> Pod:
        """Patches the member pod, and returns it as it is then. Raises an error that may pass, after all the rest."""
        failed: ApiError | None = None
        pending = changes(parent, member, self._target)
        while pending:
            change = pending.pop(0)
            try:
                member = await self._patch(member, change)
            except ApiError as error:
                if _is_gone(error, member):
                    raise
                if error.status in _OF_A_PART and (smaller := parts(change)):
                    pending[:0] = smaller  # what is refused must not keep the rest
                    continue
                failed = failed or (None if isinstance(error, _FOR_GOOD) else error)
                where = f"pods/{change.subresource}" if change.subresource else "pods"
                self._event(parent, "Warning", wellknown.MEMBER_REFUSED, f"update of {where}: {error.message}")
        if failed:
            raise failed
        return member

    async def _patch(self, member: Pod, change: Change) -> Pod:
        patched = await self._member.patch(
            PODS,
            member.metadata.name,
            change.patch,
            member.metadata.namespace,
            type=Pod,
            patch_type=PatchType.STRATEGIC,
            subresource=change.subresource,
        )
        self._member_pods.observe(patched, notify=False)
        return patched


def _is_gone(error: ApiError, member: Pod) -> bool:
    """Whether a patch failed because the pod no longer exists: not found, or another UID. A member that is older than a
    subresource answers 404, too, without the name of the pod.
    """
    if isinstance(error, NotFoundError):
        return f'"{member.metadata.name}" not found' in error.message
    return isinstance(error, ConflictError) and "UID" in error.message
