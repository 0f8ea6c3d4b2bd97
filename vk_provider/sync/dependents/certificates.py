"""Pod certificates: keys made here, signed in the parent in the pod's name, kept in a Secret of the member.

    wanted -> requested -> issued: in the Secret, until it is time to refresh -> requested again
                        -> denied or failed: reported once in an Event, and final for the pod, as with a kubelet

All sources of a pod are requested together, and the Secret is written when all are issued; until then the member's
kubelet waits with the volume. Level-triggered by pod. Owns the keys that wait for an answer (if this process ends, new
ones are made), and the Secrets, which are deleted when their pod is released, but not while orphans are held, which may
need them. Requests are watched from the first one on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from vk_provider.api import wellknown
from vk_provider.kube import keys
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject, Pod, pod_phase
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, POD_CERTIFICATE_REQUESTS, PODS, SERVICE_ACCOUNTS
from vk_provider.kube.timestamps import rfc3339
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.dependents.copies import Copies
from vk_provider.sync.dependents.sources import first_answer
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.dependents.certificates import (
    CertificateRequest,
    CertificateSource,
    Credential,
    certificate_sources,
    credentials_manifest,
    request_manifest,
    service_account,
)
from vk_provider.translate.dependents.copies import Copy
from vk_provider.translate.names import Names
from vk_provider.translate.references import mentions_certificates

_ABANDONED: Final = timedelta(minutes=10)  # a request that is not there after this time was deleted
_LOOK_AGAIN: Final = 5.0  # seconds until Secrets that are kept for now are looked at again
_JITTER: Final = 300.0  # seconds, so that pods which began together do not refresh together


@dataclass(frozen=True)
class _Item:
    """An incarnation of a parent pod."""

    namespace: str
    name: str
    uid: str

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class _Asked:
    """A request in the parent, and the key that it is about, PEM."""

    source: CertificateSource
    key: str
    request: str


@dataclass(frozen=True)
class _Pending:
    since: datetime
    asked: list[_Asked]


class CertificateLoop:
    """See the module's text."""

    def __init__(
        self,
        names: Names,
        nodes: Sequence[PodCaches],
        parent: Client,
        copies: Copies,
        state: MemberState,
        recorder: Recorder,
        tasks: asyncio.TaskGroup,
        rng: random.Random | None = None,
    ) -> None:
        """`nodes`: the pods of each virtual node. `tasks` runs the watches of requests."""
        self._names, self._nodes, self._parent, self._copies = names, nodes, parent, copies
        self._state, self._recorder, self._tasks, self._rng = state, recorder, tasks, rng or random.Random()
        self._pending: dict[_Item, _Pending] = {}
        self._refused: set[_Item] = set()
        self._items: dict[str, _Item] = {}  # UID of a parent pod -> its item
        self._requests: dict[str, Informer[CertificateRequest]] = {}  # by virtual node
        self._queue: WorkQueue[_Item] = WorkQueue("certificates", self._reconcile, workers=4)

    async def run(self) -> None:
        """Works until cancelled. The copies must be synced and every living pod added."""
        self._copies.lists["Secret"].on_change(self._copy_changed)
        await self._queue.run()

    def add(self, pod: Pod) -> None:
        """The pod exists, or has changed."""
        if mentions_certificates(pod):
            item = _Item(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)
            self._items[item.uid] = item
            self._queue.add(item)

    def release(self, pod_uid: str) -> None:
        """The pod needs no certificates any more."""
        if item := self._items.pop(pod_uid, None):
            self._queue.add(item)

    def _copy_changed(self, before: Copy | None, after: Copy | None) -> None:
        copy = after or before
        if copy is not None and wellknown.CERTIFICATES_RENEW in copy.metadata.annotations:
            namespace, name = self._names.parent_key(copy.metadata).split("/", 1)
            self._queue.add(_Item(namespace, name, copy.metadata.annotations.get(wellknown.PARENT_UID, "")))

    def _request_changed(self, before: CertificateRequest | None, after: CertificateRequest | None) -> None:
        request = after or before
        if request is not None:
            self._queue.add(_Item(request.metadata.namespace, request.spec.pod_name, request.spec.pod_uid))

    def _find(self, item: _Item) -> tuple[Pod, str] | None:
        """The parent pod and its virtual node; None if it no longer exists."""
        for node in self._nodes:
            pod = node.parent.items.get(item.key)
            if pod is not None and pod.metadata.uid == item.uid:
                return pod, node.names.node
        return None

    async def _reconcile(self, item: _Item) -> float | None:
        """Seconds until it is time to look again."""
        copy = self._copy(item)
        found = self._find(item) if item.uid in self._items else None
        if found is None:
            return await self._remove(item, copy)
        pod, node = found
        sources = certificate_sources(pod)
        ends = pod.metadata.deletion_timestamp is not None or pod_phase(pod).ended
        if not sources or ends or item in self._refused:
            return None
        now = self._parent.server_time()
        pending = self._pending.get(item)
        if pending is None:
            if copy is not None:
                left = datetime.fromisoformat(copy.metadata.annotations[wellknown.CERTIFICATES_RENEW]) - now
                if left > timedelta():
                    return left.total_seconds()
            pending = self._pending[item] = _Pending(now, [])
        if len(pending.asked) < len(sources):
            await self._ask(pod, node, sources[len(pending.asked) :], pending.asked)
        return await self._collect(item, pod, node, pending, now)

    async def _remove(self, item: _Item, copy: Copy | None) -> float | None:
        self._pending.pop(item, None)
        self._refused.discard(item)
        if copy is None:
            return None
        if self._state.orphans_held:
            return _LOOK_AGAIN
        await self._copies.delete("Secret", copy.metadata)
        return None

    async def _ask(self, pod: Pod, node_name: str, sources: Sequence[CertificateSource], asked: list[_Asked]) -> None:
        """Makes a key for each source, and a request in the parent; adds each to `asked` at once, so that an attempt
        after a failure does not make it again.
        """
        account = await self._parent.get(
            SERVICE_ACCOUNTS, service_account(pod), pod.metadata.namespace, type=PartialObject
        )
        node = await self._parent.get(NODES, node_name, type=PartialObject)
        for source in sources:
            key, stub = await asyncio.to_thread(_make_key, source.key_type)
            manifest = request_manifest(pod, source, account.metadata.uid, node.metadata, stub)
            made = await self._parent.create(
                POD_CERTIFICATE_REQUESTS, manifest, pod.metadata.namespace, type=CertificateRequest
            )
            asked.append(_Asked(source, key, made.metadata.name))

    async def _collect(self, item: _Item, pod: Pod, node: str, pending: _Pending, now: datetime) -> float | None:
        """Writes the Secret if every request has its answer."""
        requests = await self._answers(node)
        credentials, renew = {}, datetime.max.replace(tzinfo=UTC)
        for asked in pending.asked:
            request = requests.get(f"{item.namespace}/{asked.request}")
            if request is None and now - pending.since > _ABANDONED:
                del self._pending[item]
                return 0.0
            if request is None or (verdict := request.verdict) is None:
                return _ABANDONED.total_seconds()  # the watch tells sooner
            if verdict.type != "Issued":
                del self._pending[item]
                self._refused.add(item)
                message = f"PodCertificateRequest {asked.request}: {verdict.reason}: {verdict.message}"
                self._recorder.event(PODS, pod.metadata, "Warning", f"PodCertificate{verdict.type}", message)
                return None
            credentials[asked.source.name] = Credential(asked.key, request.chain)
            renew = min(renew, datetime.fromisoformat(request.status.begin_refresh_at))
        renew += timedelta(seconds=self._rng.uniform(0, _JITTER))
        manifest = credentials_manifest(pod.metadata, credentials, rfc3339(renew), self._names)
        await self._copies.put("Secret", manifest, self._copy(item))
        self._pending.pop(item, None)
        return max(1.0, (renew - now).total_seconds())

    async def _answers(self, node: str) -> Mapping[str, CertificateRequest]:
        """All requests of a virtual node, by namespace and name."""
        if (informer := self._requests.get(node)) is None:
            fields = f"spec.nodeName={node}"
            informer = Informer(self._parent, POD_CERTIFICATE_REQUESTS, CertificateRequest, fields=fields)
            informer.on_change(self._request_changed)
            self._requests[node] = informer
            self._tasks.create_task(informer.run())
        await first_answer(self._parent.server, informer, "PodCertificateRequests")
        return informer.items

    def _copy(self, item: _Item) -> Copy | None:
        secret = self._names.certificate_secret(item.name, item.uid)
        return self._copies.find("Secret", f"{self._names.namespace(item.namespace)}/{secret}")


def _make_key(key_type: str) -> tuple[str, bytes]:
    """A private key, PEM, and a request signed with it, DER; RSA can need seconds."""
    key = keys.generate(key_type)
    stub = keys.sign(x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])), key)
    return keys.pem(key).decode(), stub.public_bytes(serialization.Encoding.DER)
