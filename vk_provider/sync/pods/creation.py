"""A member pod's beginning: what it needs first, and a create whose name is taken or whose outcome is unknown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NameTakenError,
    NotFoundError,
    NotMountedError,
)
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod, fields
from vk_provider.kube.resources import PODS
from vk_provider.sync.pods.ports import Dependents, Namespaces, PodState, Services, Statuses
from vk_provider.translate.pods.differences import deeds
from vk_provider.translate.pods.pod import Owner, Target, member_pod
from vk_provider.translate.pods.status import restarts

log = logging.getLogger(__name__)

_FIRST_WORDS: Final = 2.0  # seconds that a new member pod has to say something before its silence is reflected
_CONFLICT_RETRY: Final = 15.0  # seconds until a taken name is tried again
_ACCOUNT_RETRY: Final = 0.2  # seconds; a new namespace gets its default service account a moment later
_CRASH_BASE, _CRASH_CAP, _CRASH_RESET = 10.0, 300.0, 600.0  # seconds: the kubelet's back-off of crashing containers

Event = Callable[[Pod, str, str, str], None]
"""Records an Event about a parent pod: type, reason, message."""


class Creation:
    """See the module's text. Owns no state: `PodState` is the loop's."""

    def __init__(
        self,
        target: Target,
        member: Client,
        member_pods: Informer[Pod],
        *,
        dependents: Dependents,
        namespaces: Namespaces,
        services: Services,
        statuses: Statuses,
        event: Event,
        known: Callable[[], Set[str]],
    ) -> None:
        """`known` are the resources that the member has or had."""
        self._target, self._names = target, target.names
        self._member, self._member_pods = member, member_pods
        self._dependents, self._namespaces, self._services = dependents, namespaces, services
        self._statuses, self._event, self._known = statuses, event, known

    async def create(self, parent: Pod, state: PodState, *, again: bool) -> float | None:
        """Brings what the pod needs, then makes the member pod. Returns seconds until it needs a look again.

        Raises the errors of the API servers, which the queue answers with a pause.
        """
        if again:
            counts = restarts(parent)
            if delay := self._restart_delay(state):
                await self._statuses.wait(parent, "CrashLoopBackOff", f"back-off {delay:.0f}s: the member pod was lost")
                return delay
        else:
            counts = {}
        namespace = parent.metadata.namespace
        try:
            owner = Owner(self._names.namespace(namespace), await self._namespaces.ensure(namespace))
            await self._services.ensure(namespace)
            await self._dependents.bring(parent)
            manifest = member_pod(parent, self._target, restarts=counts, owner=owner, known=self._known())
            created = await self._send(manifest, owner.namespace, state)
        except NameTakenError as error:
            return await self.conflict(parent, error.message)
        except ConflictError:
            return await self.look_up(parent, state)
        except NotMountedError as error:
            self._event(parent, "Warning", error.reason, error.message)
            await self._statuses.wait(parent, "ContainerCreating", error.message)
            raise
        except (ForbiddenError, InvalidError) as error:
            if "serviceaccount" in error.message and "not found" in error.message:
                return _ACCOUNT_RETRY
            self._event(parent, "Warning", wellknown.MEMBER_REFUSED, error.message)
            await self._statuses.wait(parent, wellknown.MEMBER_REFUSED, error.message)
            raise
        state.made = parent.metadata.uid
        if again:
            state.recreated, state.recreated_at = state.recreated + 1, asyncio.get_running_loop().time()
            self._event(parent, "Normal", "MemberPodRecreated", "the member pod was lost; a new one was created")
        log.debug("member pod created", extra={"pod": parent.metadata.key, "node": self._names.node})
        if not again:
            self._say_missed(parent, manifest)
        state.applied = applied_signature(parent, created)
        self._member_pods.observe(created)
        state.silent_until = asyncio.get_running_loop().time() + _FIRST_WORDS
        return _FIRST_WORDS

    async def _send(self, manifest: dict[str, Any], namespace: str, state: PodState) -> Pod:
        """The create itself. Its outcome is unknown until the answer is there, and after a failure of the server.

        A refusal says nothing of the creates before it, and a name that is taken may be taken by what one of them made:
        only a look at the member does (see `look_up`).
        """
        unsure, state.unsure = state.unsure, True
        try:
            created = await self._member.create(PODS, manifest, namespace, type=Pod)
        except ApiError as error:
            state.unsure = unsure or error.status >= 500 or isinstance(error, ConflictError)
            raise
        state.unsure = False
        return created

    def _restart_delay(self, state: PodState) -> float:
        """Seconds that are left of the back-off: none for the first loss, then 10 s, doubling to 5 min."""
        if not state.recreated:
            return 0.0
        since = asyncio.get_running_loop().time() - state.recreated_at
        if since > _CRASH_RESET:
            state.recreated = 0
            return 0.0
        return max(0.0, min(_CRASH_CAP, _CRASH_BASE * 2.0 ** (state.recreated - 1)) - since)

    async def look_up(self, parent: Pod, state: PodState) -> float | None:
        """A create met a name that is taken: by ours, unknown until now, or by something that is not ours."""
        namespace = self._names.namespace(parent.metadata.namespace)
        try:
            found = await self._member.get(PODS, parent.metadata.name, namespace, type=Pod)
        except NotFoundError:
            return 0.0
        if self._names.owns(found.metadata.labels):
            self._member_pods.observe(found)
        else:
            state.foreign = found
        state.unsure = False
        return 0.0

    async def conflict(self, parent: Pod, message: str) -> float:
        """Says that the name is taken."""
        self._event(parent, "Warning", wellknown.NAME_CONFLICT, message)
        await self._statuses.wait(parent, wellknown.NAME_CONFLICT, message)
        return _CONFLICT_RETRY

    def _say_missed(self, parent: Pod, manifest: dict[str, Any]) -> None:
        """One Event with every field that the member cannot honour and a user may rely on."""
        missed = [str(deed) for deed in deeds({"spec": fields(parent.spec)}, manifest, self._target) if deed.missed]
        if missed:
            self._event(parent, "Warning", wellknown.NOT_HONOURED, "; ".join(missed))


def applied_signature(parent: Pod, member: Pod) -> int:
    """Of everything that `changes` reads on the parent, and of what a person may change on the member pod."""
    return hash(
        (
            bytes(parent.spec),
            tuple(parent.metadata.labels.items()),
            tuple(parent.metadata.annotations.items()),
            member.metadata.uid,
            tuple(member.metadata.labels.items()),
            tuple(member.metadata.annotations.items()),
        )
    )
