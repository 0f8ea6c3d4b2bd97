"""The member pod of a parent pod: created with what it needs, kept up to date, and reflected.

Handles a create whose name is taken, and one whose outcome is unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set
from dataclasses import replace
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import (
    ApiError,
    ForbiddenError,
    InvalidError,
    NamespaceExcludedError,
    NameTakenError,
    NotFoundError,
    NotMountedError,
    UnreachableError,
    VkError,
)
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod, fields
from vk_provider.kube.resources import PODS
from vk_provider.observable import Observable
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.protocols import Dependents, Event, KnownResources, PodMemory
from vk_provider.sync.pods.status import StatusWriter
from vk_provider.sync.pods.updates import Updates
from vk_provider.translate.nodes.member_nodes import MemberNode
from vk_provider.translate.pods.constraints import PLATFORM, ZONE, Scheduling
from vk_provider.translate.pods.container_statuses import deadline_left, restarts
from vk_provider.translate.pods.differences import differences
from vk_provider.translate.pods.pod import Target, may_lose_fields, member_pod
from vk_provider.translate.pods.status import has_no_status

log = logging.getLogger(__name__)

# Seconds that a new member pod has to get a status before its empty one is reflected, which also records that it was
# created. That record keeps a pod that must not restart from running twice (decision 0004): it must not be late.
_QUIET, _QUIET_IF_NEVER = 10.0, 2.0
_CONFLICT_RETRY: Final = 15.0  # seconds until a taken name is tried again
_EXCLUDED_RETRY: Final = 30.0  # seconds until the list of excluded namespaces is read again
_ACCOUNT_BASE, _ACCOUNT_CAP = 0.2, 30.0  # seconds; a new namespace gets its default service account a moment later
_ACCOUNT_TRIES: Final = 6  # that fail until it is reported that the account is missing: about 6 s
_EXISTS: Final = "AlreadyExists"  # reason of a 409, which an admission webhook may choose, too
_CRASH_BASE, _CRASH_CAP, _CRASH_RESET = 10.0, 300.0, 600.0  # seconds: the kubelet's back-off of crashing containers


class MemberPods:
    """Creates and updates the member pods of one virtual node. Memory about a pod is the loop's: `PodMemory`."""

    def __init__(
        self,
        target: Target,
        member: Client,
        pods: PodCaches,
        resources: KnownResources,
        dependents: Dependents,
        statuses: StatusWriter,
        event: Event,
        *,
        cluster: Observable[MemberCluster],
        nodes: Informer[MemberNode],
    ) -> None:
        """`nodes`: those of the member."""
        self._target, self._names = target, target.names
        self._member, self._pods, self._resources = member, pods, resources
        self._dependents, self._statuses, self._event = dependents, statuses, event
        self._updates = Updates(target, member, pods.member, event)
        self._cluster, self._nodes = cluster, nodes
        self._platform: Set[str] = PLATFORM
        self._follow_cluster()
        cluster.subscribe(self._follow_cluster)

    async def create(self, parent: Pod, memory: PodMemory, *, recreate: bool) -> float | None:
        """Prepares what the pod needs, then creates the member pod. `recreate`: an earlier one was lost.

        Returns the seconds until the pod needs another look. Raises the errors of the API servers, which the queue
        answers with a pause.
        """
        if recreate and (delay := self._restart_delay(memory)):
            await self._statuses.wait(parent, "CrashLoopBackOff", f"back-off {delay:.0f}s: the member pod was lost")
            return delay
        try:
            created, manifest = await self._prepare_and_send(parent, memory, recreate=recreate)
        except NameTakenError as error:
            return await self.report_name_taken(parent, error.message)
        except NamespaceExcludedError as error:
            return await self._report_excluded(parent, memory, error)
        except NotMountedError as error:
            self._event(parent, "Warning", error.reason, error.message)
            await self._statuses.wait(parent, "ContainerCreating", error.message)
            raise
        except UnreachableError:
            memory.refusals = 0  # those before it tell nothing about the next answer
            raise
        except ApiError as error:
            if error.reason == _EXISTS and await self.resolve_conflict(parent, memory):
                return 0.0
            return await self._report_refusal(parent, memory, error)
        now = asyncio.get_running_loop().time()
        memory.created_uid, memory.refusals = parent.metadata.uid, 0
        if recreate:
            memory.recreated, memory.recreated_at = memory.recreated + 1, now
            self._event(parent, "Normal", "MemberPodRecreated", "the member pod was lost; a new one was created")
        elif may_lose_fields(parent, self._target):
            self._report_lost_fields(parent, manifest)
        log.debug("member pod created", extra={"pod": parent.metadata.key, "node": self._names.node})
        memory.applied = applied_signature(parent, created)
        self._pods.member.observe(created, notify=False)
        quiet = _QUIET_IF_NEVER if manifest["spec"].get("restartPolicy") == "Never" else _QUIET
        memory.empty_status_until = now + quiet
        return quiet

    async def reflect(self, parent: Pod, member: Pod, memory: PodMemory) -> float | None:
        """Returns the seconds until the pod needs another look. Raises the errors of the API servers."""
        if memory.applied != applied_signature(parent, member):
            try:
                memory.uid = parent.metadata.uid
                await self._dependents.ensure(parent)
                member = await self._updates.apply(parent, member)
                memory.applied = applied_signature(parent, member)
            except VkError:
                await self._statuses.reflect(parent, member)  # a change that cannot be applied hides no status
                raise
        if memory.empty_status_until and has_no_status(member):
            # One write of "Running" instead of one of an empty status and then that.
            if (left := memory.empty_status_until - asyncio.get_running_loop().time()) > 0:
                return left
        memory.empty_status_until = 0.0
        await self._statuses.reflect(parent, member)
        return None

    async def _prepare_and_send(self, parent: Pod, memory: PodMemory, *, recreate: bool) -> tuple[Pod, dict[str, Any]]:
        """The member pod, and the manifest that it was created from."""
        owner = await self._dependents.prepare(parent)
        counts = restarts(parent) if recreate else {}
        known, tolerations = self._resources.known_resources, self._resources.tolerations(parent)
        target = self._target_of(parent)
        manifest = member_pod(parent, target, restarts=counts, owner=owner, known=known, tolerations=tolerations)
        if recreate and (left := deadline_left(parent, self._member.server_time())) is not None:
            manifest["spec"]["activeDeadlineSeconds"] = left
        return await self._send(manifest, owner.namespace, memory), manifest

    def _follow_cluster(self) -> None:
        """What an administrator declares for the member's scheduler."""
        declared = self._cluster.value.spec
        self._platform = PLATFORM - declared.labels.keys()
        scheduling = Scheduling(self._platform, priority_class=declared.priority_class_name)
        self._target = replace(self._target, scheduling=scheduling)

    def _target_of(self, parent: Pod) -> Target:
        """The target of a new member pod. Only a pod with constraints depends on the nodes of the member."""
        spec, target = bytes(parent.spec), self._target
        if not (b'"nodeSelector"' in spec or b'"nodeAffinity"' in spec or b'"topologySpreadConstraints"' in spec):
            return target
        nodes = [node.metadata.labels for node in self._nodes.items.values()]
        known = {key for key in self._platform if not nodes or any(key in labels for labels in nodes)}
        zones = {labels[ZONE] for labels in nodes if ZONE in labels}
        return replace(target, scheduling=replace(target.scheduling, platform=known, zones=len(zones) > 1))

    async def _send(self, manifest: dict[str, Any], namespace: str, memory: PodMemory) -> Pod:
        """The create itself. Its outcome is unknown until the answer arrives, and after a failure of the server.

        A refusal proves nothing about the creates before it, and a name that is taken may be taken by the result of one
        of them: only a look at the member tells (see `resolve_conflict`).
        """
        unknown, memory.create_unknown = memory.create_unknown, True
        try:
            created = await self._member.create(PODS, manifest, namespace, type=Pod)
        except ApiError as error:
            memory.create_unknown = unknown or error.status >= 500 or error.reason == _EXISTS
            raise
        memory.create_unknown = False
        return created

    def _restart_delay(self, memory: PodMemory) -> float:
        """Seconds that are left of the back-off: none for the first loss, then 10 s, doubling to 5 min."""
        if not memory.recreated:
            return 0.0
        since = asyncio.get_running_loop().time() - memory.recreated_at
        if since > _CRASH_RESET:
            memory.recreated = 0
            return 0.0
        return max(0.0, min(_CRASH_CAP, _CRASH_BASE * 2.0 ** (memory.recreated - 1)) - since)

    async def resolve_conflict(self, parent: Pod, memory: PodMemory) -> bool:
        """A create met a name that is taken: by a pod of ours, unknown until now, or by one that is not ours. False: no
        pod has that name.
        """
        namespace = self._names.namespace(parent.metadata.namespace)
        try:
            found = await self._member.get(PODS, parent.metadata.name, namespace, type=Pod)
        except NotFoundError:
            return False
        if self._names.owns(found.metadata.labels):
            self._pods.member.observe(found)
        else:
            memory.foreign = found
        memory.create_unknown = False
        return True

    async def _report_excluded(self, parent: Pod, memory: PodMemory, error: NamespaceExcludedError) -> float:
        """The member has no place for the pod, and time does not change that: it is evicted at once if that can help.

        Returns the seconds until the next look.
        """
        self._event(parent, "Warning", error.reason, str(error))
        await self._statuses.wait(parent, error.reason, error.message)
        first, memory.refusal = not memory.refusals, error.message
        if first:
            memory.refusals, memory.refused_since = 1, float("-inf")
            memory.refused_look = asyncio.get_running_loop().time()
        return 0.0 if first else _EXCLUDED_RETRY

    async def _report_refusal(self, parent: Pod, memory: PodMemory, error: ApiError) -> float:
        """Reports an answer of the member that is not the pod, whatever its status is: admission webhooks choose it.

        Refusals for good are reported at once, others, which may pass, when they are repeated. Returns the seconds
        until the next attempt, or raises the error, which the queue answers with a growing pause.
        """
        if not memory.refusals or memory.refused_since == float("-inf"):
            memory.refused_since = memory.refused_look = asyncio.get_running_loop().time()
        memory.refusals, memory.refusal = memory.refusals + 1, error.message
        account = "serviceaccount" in error.message and "not found" in error.message
        for_good = isinstance(error, ForbiddenError | InvalidError)
        if memory.refusals >= (_ACCOUNT_TRIES if account else 1 if for_good else 2):
            self._event(parent, "Warning", wellknown.MEMBER_REFUSED, error.message)
            await self._statuses.wait(parent, wellknown.MEMBER_REFUSED, error.message)
        if not account:
            raise error
        return min(_ACCOUNT_CAP, _ACCOUNT_BASE * 2.0 ** min(memory.refusals - 1, 10))

    async def report_name_taken(self, parent: Pod, message: str) -> float:
        """Reports that the name is taken. Returns the seconds until it is tried again."""
        self._event(parent, "Warning", wellknown.NAME_CONFLICT, message)
        await self._statuses.wait(parent, wellknown.NAME_CONFLICT, message)
        return _CONFLICT_RETRY

    def _report_lost_fields(self, parent: Pod, manifest: dict[str, Any]) -> None:
        """One Event with every field that the member cannot honour and a user may rely on."""
        found = differences({"spec": fields(parent.spec)}, manifest, self._target)
        if missed := [str(difference) for difference in found if difference.missed]:
            self._event(parent, "Warning", wellknown.NOT_HONOURED, "; ".join(missed))


def applied_signature(parent: Pod, member: Pod) -> int:
    """Hash of everything that `changes` reads on the parent pod, and of what a person may change on the member pod."""
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
