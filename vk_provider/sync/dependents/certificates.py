"""Pod certificates: keys made here, signed in the parent in the pod's name, kept in a Secret of the member.

    wanted -> requested -> issued: in the Secret, until it is time to refresh -> requested again
                        -> denied or failed: said once in an Event, and final for the pod, as with a kubelet

All sources of a pod are requested together, and the Secret is written when all are there; until then the member's
kubelet waits with the volume. Level-triggered by pod. Owns: the keys that wait for an answer (lost with this process:
then new ones are made), and the Secrets, which go with the parent pod. Requests are watched from the first one on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from vk_provider.api import wellknown
from vk_provider.errors import ConflictError, NotFoundError, UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject, Payload, Pod, pod_phase
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, POD_CERTIFICATE_REQUESTS, PODS, SECRETS, SERVICE_ACCOUNTS
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.translate.dependents.certificates import (
    CertificateRequest,
    CertificateSource,
    Credential,
    certificate_sources,
    credentials_manifest,
    request_manifest,
    service_account,
    wants_certificates,
)
from vk_provider.translate.dependents.needs import Copy
from vk_provider.translate.names import Names
from vk_provider.translate.pods.decide import TERMINAL

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_KEYS: Final[dict[str, Callable[[], _Key]]] = {
    "RSA3072": lambda: rsa.generate_private_key(65537, 3072),
    "RSA4096": lambda: rsa.generate_private_key(65537, 4096),
    "ECDSAP256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSAP384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECDSAP521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ED25519": ed25519.Ed25519PrivateKey.generate,
}
_FIRST_ANSWER: Final = 15.0  # seconds for the first list of requests
_ABANDONED: Final = timedelta(minutes=10)  # a request that is not there after this time was deleted
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
        parent: Client,
        member: Client,
        parent_pods: Informer[Pod],
        secrets: Informer[Copy],
        recorder: Recorder,
        rng: random.Random | None = None,
    ) -> None:
        self._names, self._parent, self._member = names, parent, member
        self._parent_pods, self._secrets, self._recorder = parent_pods, secrets, recorder
        self._rng = rng or random.Random()
        self._pending: dict[_Item, _Pending] = {}
        self._refused: set[_Item] = set()
        self._requests: Informer[CertificateRequest] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._queue: WorkQueue[_Item] = WorkQueue("certificates", self._reconcile, workers=4)

    async def run(self) -> None:
        """Works until cancelled. Both informers must be synced."""
        async with asyncio.TaskGroup() as self._group:
            self._secrets.on_change(self._copy_changed)
            self._parent_pods.on_change(self._pod_changed)
            self._group.create_task(self._queue.run())

    def _pod_changed(self, before: Pod | None, after: Pod | None) -> None:
        for pod in (before, after):
            if pod is not None and wants_certificates(pod):
                self._queue.add(_Item(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid))

    def _copy_changed(self, before: Copy | None, after: Copy | None) -> None:
        copy = after or before
        if copy is not None and wellknown.CERTIFICATES_RENEW in copy.metadata.annotations:
            namespace, name = self._names.parent_key(copy.metadata).split("/", 1)
            self._queue.add(_Item(namespace, name, copy.metadata.annotations.get(wellknown.PARENT_UID, "")))

    def _request_changed(self, before: CertificateRequest | None, after: CertificateRequest | None) -> None:
        request = after or before
        if request is not None:
            self._queue.add(_Item(request.metadata.namespace, request.spec.pod_name, request.spec.pod_uid))

    async def _reconcile(self, item: _Item) -> float | None:
        """Seconds until it is time to look again."""
        pod = self._parent_pods.items.get(item.key)
        copy = self._copy(item)
        if pod is None or pod.metadata.uid != item.uid:
            self._pending.pop(item, None)
            self._refused.discard(item)
            if copy is not None:
                await self._remove(copy)
            return None
        sources = certificate_sources(pod)
        ends = pod.metadata.deletion_timestamp is not None or pod_phase(pod).phase in TERMINAL
        if not sources or ends or item in self._refused:
            return None
        now = self._parent.server_time()
        pending = self._pending.get(item)
        if pending is None:
            if copy is not None:
                left = datetime.fromisoformat(copy.metadata.annotations[wellknown.CERTIFICATES_RENEW]) - now
                if left > timedelta():
                    return left.total_seconds()
            pending = self._pending[item] = _Pending(now, await self._ask(pod, sources))
        return await self._collect(item, pod, pending, now)

    async def _ask(self, pod: Pod, sources: list[CertificateSource]) -> list[_Asked]:
        """Makes a key for each source, and a request in the parent."""
        account = await self._parent.get(
            SERVICE_ACCOUNTS, service_account(pod), pod.metadata.namespace, type=PartialObject
        )
        node = await self._parent.get(NODES, self._names.node, type=PartialObject)
        asked = []
        for source in sources:
            key, stub = await asyncio.to_thread(_make_key, source.key_type)
            manifest = request_manifest(pod, source, account.metadata.uid, node.metadata, stub)
            made = await self._parent.create(
                POD_CERTIFICATE_REQUESTS, manifest, pod.metadata.namespace, type=CertificateRequest
            )
            asked.append(_Asked(source, key, made.metadata.name))
        return asked

    async def _collect(self, item: _Item, pod: Pod, pending: _Pending, now: datetime) -> float | None:
        """Writes the Secret if every request has its answer."""
        requests = await self._answers()
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
        await self._write(item, credentials_manifest(pod.metadata, credentials, renew.isoformat(), self._names))
        self._pending.pop(item, None)
        return max(1.0, (renew - now).total_seconds())

    async def _answers(self) -> dict[str, CertificateRequest]:
        """All requests of this node, by namespace and name."""
        if self._requests is None:
            if self._group is None:
                raise RuntimeError("before run()")
            self._requests = Informer(
                self._parent, POD_CERTIFICATE_REQUESTS, CertificateRequest, fields=f"spec.nodeName={self._names.node}"
            )
            self._requests.on_change(self._request_changed)
            self._group.create_task(self._requests.run())
        try:
            async with asyncio.timeout(_FIRST_ANSWER):
                await self._requests.synced.wait()
        except TimeoutError as error:
            what = f"{self._parent.server}: PodCertificateRequests could not be listed in time"
            raise UnreachableError(what) from error
        return dict(self._requests.items)

    def _copy(self, item: _Item) -> Copy | None:
        secret = self._names.certificate_secret(item.name, item.uid)
        return self._secrets.items.get(f"{self._names.namespace(item.namespace)}/{secret}")

    async def _write(self, item: _Item, manifest: dict[str, object]) -> None:
        """All keys are the same for the whole life of a pod, so that a merge replaces them."""
        copy = self._copy(item)
        namespace = self._names.namespace(item.namespace)
        if copy is None:
            written = await self._member.create(SECRETS, manifest, namespace, type=Payload)
        else:
            written = await self._member.patch(SECRETS, copy.metadata.name, manifest, namespace, type=Payload)
        self._secrets.observe(written)

    async def _remove(self, copy: Copy) -> None:
        try:
            await self._member.delete(SECRETS, copy.metadata.name, copy.metadata.namespace, uid=copy.metadata.uid)
        except (NotFoundError, ConflictError):
            pass


def _make_key(key_type: str) -> tuple[str, bytes]:
    """A private key, PEM, and a request signed with it, DER; takes up to seconds for RSA."""
    key = _KEYS[key_type]()
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    stub = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, digest)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode(), stub.public_bytes(serialization.Encoding.DER)
