"""ConfigMaps, Secrets, tokens and trust anchors that pods name, kept in the member as long as a pod there needs them.

Level-triggered by item: an item that has users and exists in the parent is in the member with the same contents; any
other copy of ours goes. What a pod names is watched in the parent by name, one watch per object, as a kubelet does;
nothing else of a namespace's Secrets is ever read. Tokens are minted by the parent, bound to the parent pod, and
renewed at 80 % of their life. Owns: who uses what, and the watches. What is in the member is `copies`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

from vk_provider.api import wellknown
from vk_provider.api.membercluster import ApiAccess
from vk_provider.errors import NameTakenError, NotFoundError, NotMountedError, UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Payload, Pod
from vk_provider.kube.resources import CLUSTER_TRUST_BUNDLES
from vk_provider.kube.tokens import Token, request_token
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.dependents.copies import RESOURCES, Copies
from vk_provider.translate.dependents.needs import (
    Copy,
    Kind,
    Needs,
    TokenSource,
    digest,
    member_payload,
    needs,
    token_manifest,
)
from vk_provider.translate.dependents.trust_bundles import TrustBundle, TrustQuery, trust_manifest
from vk_provider.translate.pods.pod import Target

log = logging.getLogger(__name__)

_HELD_IN: Final[dict[str, Kind]] = {
    "ConfigMap": "ConfigMap",
    "Secret": "Secret",
    "Tokens": "Secret",
    "Trust": "ConfigMap",
}
_FIRST_ANSWER: Final = 15.0  # seconds for the first look at an object of the parent
_LOOK_AGAIN: Final = 5.0  # seconds, at copies that are kept for now
_RENEW_AT: Final = 0.8  # of a token's life, as a kubelet
_RENEW_AFTER: Final = timedelta(hours=24)  # at the latest, as a kubelet


@dataclass(frozen=True)
class Item:
    """One object in the member, and what it holds.

    A copy of the parent's `kind` `name`; the tokens of the pod `name` with `uid`; or the answer to the query `name`.
    """

    kind: Kind | Literal["Tokens", "Trust"]
    namespace: str  # of the parent
    name: str
    uid: str = ""


@dataclass(frozen=True)
class _Watch:
    informer: Informer[Any]
    task: asyncio.Task[None]


class DependentLoop:
    """See the module's text."""

    def __init__(
        self,
        target: Target,
        parent: Client,
        copies: Copies,
        *,
        keep: Callable[[], bool],
    ) -> None:
        """`keep` tells whether copies that nobody uses stay for now: pods that the parent does not know may run."""
        self._target, self._names = target, target.names
        self._parent, self._copies = parent, copies
        self._keep = keep
        self._users: dict[Item, set[str]] = {}  # item -> UIDs of parent pods
        self._used: dict[str, tuple[Item, ...]] = {}  # UID of a parent pod -> its items
        self._tokens: dict[Item, tuple[Metadata, Needs]] = {}  # item -> its parent pod and what that asks for
        self._watches: dict[Item, _Watch] = {}
        self._trust_bundles: _Watch | None = None  # all of the parent's, from the first pod that asks for some
        self._locks: dict[Item, asyncio.Lock] = {}
        self._group: asyncio.TaskGroup | None = None
        self._queue: WorkQueue[Item] = WorkQueue("dependents", self._reconcile, workers=8)

    async def run(self) -> None:
        """Works until cancelled. The copies' informers must be synced and every living pod adopted."""
        async with asyncio.TaskGroup() as self._group:
            for kind, informer in self._copies.lists.items():
                informer.on_change(partial(self._copy_changed, kind))
            self._group.create_task(self._queue.run())

    def adopt(self, pod: Pod) -> None:
        """Registers what a pod names, so that none of it counts as unused."""
        found = self._items(pod)
        for item in set(self._used.get(pod.metadata.uid, ())) - set(found):
            self._drop(item, pod.metadata.uid)
        self._used[pod.metadata.uid] = found
        for item in found:
            self._users.setdefault(item, set()).add(pod.metadata.uid)

    async def bring(self, pod: Pod) -> None:
        """Returns when everything that the pod names and that exists is in the member.

        Raises NameTakenError where something in the member is in the way, NotMountedError where the service account is
        gone, and the errors of the API servers.
        """
        self.adopt(pod)
        for item in self._used[pod.metadata.uid]:
            await self._sync(item)

    def release(self, pod_uid: str) -> None:
        """The pod is gone: what nobody else uses goes too."""
        for item in self._used.pop(pod_uid, ()):
            self._drop(item, pod_uid)

    def _drop(self, item: Item, pod_uid: str) -> None:
        users = self._users.get(item, set())
        users.discard(pod_uid)
        if not users:
            self._users.pop(item, None)
            self._queue.add(item)

    def _items(self, pod: Pod) -> tuple[Item, ...]:
        named = needs(pod)
        namespace = pod.metadata.namespace
        found = [Item(reference.kind, namespace, reference.name) for reference in sorted(named.references)]
        if named.tokens and self._target.api_access is ApiAccess.PARENT:
            item = Item("Tokens", namespace, pod.metadata.name, pod.metadata.uid)
            self._tokens[item] = (pod.metadata, named)
            found.append(item)
        found += [Item("Trust", namespace, text) for text in sorted(query.text for query in named.trust)]
        return tuple(found)

    def _copy_changed(self, kind: Kind, before: Copy | None, after: Copy | None) -> None:
        copy = after or before
        if copy is None or not self._names.owns(copy.metadata.labels):
            return
        annotations = copy.metadata.annotations
        if wellknown.CERTIFICATES_RENEW in annotations:
            return  # not a copy of anything: the certificate loop's
        namespace, name = self._names.parent_key(copy.metadata).split("/", 1)
        if wellknown.TRUST_QUERY in annotations:
            self._queue.add(Item("Trust", namespace, annotations[wellknown.TRUST_QUERY]))
        elif wellknown.TOKEN_EXPIRES in annotations:
            self._queue.add(Item("Tokens", namespace, name, annotations.get(wellknown.PARENT_UID, "")))
        else:
            self._queue.add(Item(kind, namespace, name))

    async def _reconcile(self, item: Item) -> float | None:
        try:
            return await self._sync(item)
        except NameTakenError as error:
            log.warning("dependent not copied", extra={"object": f"{item.namespace}/{item.name}", "error": str(error)})
            return 30.0

    async def _sync(self, item: Item) -> float | None:
        """One item, by one task at a time. Returns seconds until it needs a look again."""
        async with self._locks.setdefault(item, asyncio.Lock()):
            if item not in self._users:
                if self._keep():
                    return _LOOK_AGAIN
                await self._remove(item)
                self._locks.pop(item, None)
                return None
            if item.kind == "Tokens":
                return await self._sync_tokens(item)
            if item.kind == "Trust":
                await self._sync_trust(item)
                return None
            await self._sync_payload(item, item.kind)
            return None

    def _copy(self, item: Item) -> Copy | None:
        match item.kind:
            case "Tokens":
                name = self._names.token_secret(item.name, item.uid)
            case "Trust":
                name = self._names.trust_bundle(item.name)
            case "ConfigMap":
                name = self._names.config_map(item.name)
            case "Secret":
                name = item.name
        return self._copies.find(_HELD_IN[item.kind], f"{self._names.namespace(item.namespace)}/{name}")

    async def _remove(self, item: Item) -> None:
        if watch := self._watches.pop(item, None):
            watch.task.cancel()
        self._tokens.pop(item, None)
        if copy := self._copy(item):
            await self._copies.delete(_HELD_IN[item.kind], copy.metadata)

    async def _sync_payload(self, item: Item, kind: Kind) -> None:
        source = await self._source(item, kind)
        copy = self._copy(item)
        if source is None:  # may be optional, may appear later; the watch will tell
            if copy is not None:
                await self._copies.delete(kind, copy.metadata)
            return
        if copy is None or copy.digest != digest(source.data, source.binary_data):
            await self._copies.put(kind, member_payload(kind, source, self._names), copy)

    async def _source(self, item: Item, kind: Kind) -> Payload | None:
        watch = self._watches.get(item)
        if watch is None:
            informer: Informer[Payload] = Informer(
                self._parent,
                RESOURCES[kind],
                Payload,
                namespace=item.namespace,
                fields=f"metadata.name={item.name}",
            )
            informer.on_change(lambda _before, _after: self._queue.add(item))
            watch = self._watches[item] = self._watch(informer)
        await self._first_answer(watch, f"{kind} {item.namespace}/{item.name}")
        source: Payload | None = watch.informer.items.get(f"{item.namespace}/{item.name}")
        return source

    async def _sync_trust(self, item: Item) -> None:
        if self._trust_bundles is None:
            informer: Informer[TrustBundle] = Informer(self._parent, CLUSTER_TRUST_BUNDLES, TrustBundle)
            informer.on_change(self._trust_changed)
            self._trust_bundles = self._watch(informer)
        await self._first_answer(self._trust_bundles, "ClusterTrustBundles")
        query, copy = TrustQuery(item.name), self._copy(item)
        anchors = query.answer(self._trust_bundles.informer.items)
        if anchors is None:  # may appear later; running pods keep what they have
            if copy is not None:
                await self._copies.delete("ConfigMap", copy.metadata)
            return
        manifest = trust_manifest(query, anchors, item.namespace, self._names)
        if copy is None or copy.digest != digest(manifest["data"]):
            await self._copies.put("ConfigMap", manifest, copy)

    def _trust_changed(self, _before: TrustBundle | None, _after: TrustBundle | None) -> None:
        for item in self._users:
            if item.kind == "Trust":
                self._queue.add(item)

    def _watch(self, informer: Informer[Any]) -> _Watch:
        if self._group is None:
            raise RuntimeError("bring() before run()")
        return _Watch(informer, self._group.create_task(informer.run()))

    async def _first_answer(self, watch: _Watch, what: str) -> None:
        try:
            async with asyncio.timeout(_FIRST_ANSWER):
                await watch.informer.synced.wait()
        except TimeoutError as error:
            raise UnreachableError(f"{self._parent.server}: {what} could not be read in time") from error

    async def _sync_tokens(self, item: Item) -> float:
        pod, named = self._tokens[item]
        copy = self._copy(item)
        now = self._parent.server_time()
        if copy is not None:
            renew = datetime.fromisoformat(copy.metadata.annotations[wellknown.TOKEN_RENEW])
            if renew > now:
                return (renew - now).total_seconds()
        minted = await asyncio.gather(*(self._mint(pod, named, source) for source in named.tokens))
        expires = min(token.expiration_timestamp for token in minted)
        renew = now + min((expires - now) * _RENEW_AT, _RENEW_AFTER)
        tokens = {source.key: token.token for source, token in zip(named.tokens, minted, strict=True)}
        manifest = token_manifest(pod, tokens, _rfc3339(expires), _rfc3339(renew), self._names)
        await self._copies.put("Secret", manifest, copy)
        return max(1.0, (renew - now).total_seconds())

    async def _mint(self, pod: Metadata, named: Needs, source: TokenSource) -> Token:
        try:
            return await request_token(
                self._parent,
                named.service_account,
                pod,
                audience=source.audience,
                seconds=source.expiration_seconds,
            )
        except NotFoundError as error:
            raise NotMountedError(f"failed to fetch a token of the pod's service account: {error.message}") from error


def _rfc3339(moment: datetime) -> str:
    return (moment - timedelta(microseconds=moment.microsecond)).isoformat().replace("+00:00", "Z")
