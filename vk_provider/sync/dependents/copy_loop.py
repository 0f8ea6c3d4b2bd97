"""ConfigMaps, Secrets, tokens and trust anchors that pods name, kept in the member as long as a pod there needs them.

Level-triggered by item: an item that has users and exists in the parent is in the member with the same contents; any
other copy of ours is deleted. Tokens are requested from the parent, bound to the parent pod, and renewed at 80 % of
their life. Owns which pod uses which item. What the parent has is in `sources`, what is in the member in `copies`.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import ApiAccess
from vk_provider.errors import NameTakenError, NotFoundError, NotMountedError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata, Pod
from vk_provider.kube.timestamps import rfc3339
from vk_provider.kube.tokens import Token, request_token
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.dependents.copies import Copies
from vk_provider.sync.dependents.items import Item, Payload, Tokens, TrustAnchors, item_of
from vk_provider.sync.dependents.sources import Sources
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.dependents.copies import Copy, digest, member_payload, token_manifest
from vk_provider.translate.dependents.needs import Needs, TokenSource, needs
from vk_provider.translate.dependents.trust_bundles import BundleQuery, trust_manifest
from vk_provider.translate.pods.pod import Target
from vk_provider.translate.references import Kind

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 5.0  # seconds until copies that are kept for now are looked at again
_CONFLICT_RETRY: Final = 30.0  # seconds until a taken name is tried again
_RENEW_AT: Final = 0.8  # of a token's life, as a kubelet
_RENEW_AFTER: Final = timedelta(hours=24)  # at the latest, as a kubelet


class CopyLoop:
    """See the module's text."""

    def __init__(
        self, target: Target, parent: Client, copies: Copies, state: MemberState, tasks: asyncio.TaskGroup
    ) -> None:
        """`tasks` runs the watches of the parent's objects."""
        self._target, self._names = target, target.names
        self._parent, self._copies, self._state = parent, copies, state
        self._users: dict[Item, set[str]] = {}  # item -> UIDs of parent pods
        self._used: dict[str, tuple[Item, ...]] = {}  # UID of a parent pod -> its items
        self._tokens: dict[Tokens, tuple[Metadata, Needs]] = {}  # item -> its parent pod and what that asks for
        self._locks: dict[Item, asyncio.Lock] = {}
        self._queue: WorkQueue[Item] = WorkQueue("copies", self._reconcile, workers=8)
        self._sources = Sources(parent, tasks, self._queue.add, self._bundles_changed)

    async def run(self) -> None:
        """Works until cancelled. The copies must be synced and every living pod adopted."""
        for kind, informer in self._copies.lists.items():
            informer.on_change(partial(self._copy_changed, kind))
        await self._queue.run()

    def adopt(self, pod: Pod) -> None:
        """Registers what a pod names, so that none of it counts as unused."""
        found = self._items(pod)
        for item in set(self._used.get(pod.metadata.uid, ())) - set(found):
            self._drop(item, pod.metadata.uid)
        self._used[pod.metadata.uid] = found
        for item in found:
            self._users.setdefault(item, set()).add(pod.metadata.uid)

    async def ensure(self, pod: Pod) -> None:
        """Returns when everything that the pod names and that exists in the parent is in the member.

        Raises NameTakenError if something in the member is in the way, NotMountedError if the service account does not
        exist, and the errors of the API servers.
        """
        self.adopt(pod)
        for item in self._used[pod.metadata.uid]:
            await self._sync(item)

    def release(self, pod_uid: str) -> None:
        """The pod no longer exists: what no other pod uses is deleted."""
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
        found: list[Item] = [Payload(one.kind, namespace, one.name) for one in sorted(named.references)]
        if named.tokens and self._target.api_access is ApiAccess.PARENT:
            item = Tokens(namespace, pod.metadata.name, pod.metadata.uid)
            self._tokens[item] = (pod.metadata, named)
            found.append(item)
        found += [TrustAnchors(namespace, text) for text in sorted(query.text for query in named.bundles)]
        return tuple(found)

    def _copy_changed(self, kind: Kind, before: Copy | None, after: Copy | None) -> None:
        copy = after or before
        if copy is not None and self._names.owns(copy.metadata.labels) and (item := item_of(kind, copy, self._names)):
            self._queue.add(item)

    def _bundles_changed(self) -> None:
        for item in self._users:
            if isinstance(item, TrustAnchors):
                self._queue.add(item)

    async def _reconcile(self, item: Item) -> float | None:
        try:
            return await self._sync(item)
        except NameTakenError as error:
            key = f"{item.namespace}/{item.member_name(self._names)}"
            log.warning("dependent not copied", extra={"object": key, "error": str(error)})
            return _CONFLICT_RETRY

    async def _sync(self, item: Item) -> float | None:
        """One item, by one task at a time. Returns the seconds until it needs another look."""
        async with self._locks.setdefault(item, asyncio.Lock()):
            if item not in self._users:
                return await self._remove(item)
            match item:
                case Tokens():
                    return await self._sync_tokens(item)
                case TrustAnchors():
                    await self._sync_trust_anchors(item)
                case Payload():
                    await self._sync_payload(item)
            return None

    def _copy(self, item: Item) -> Copy | None:
        namespace = self._names.namespace(item.namespace)
        return self._copies.find(item.kind, f"{namespace}/{item.member_name(self._names)}")

    async def _remove(self, item: Item) -> float | None:
        """Deletes what no pod uses; not while orphans are held, which may still run and use it."""
        if self._state.orphans_held:
            return _LOOK_AGAIN
        if isinstance(item, Payload):
            self._sources.end(item)
        elif isinstance(item, Tokens):
            self._tokens.pop(item, None)
        await self._delete_copy(item)
        self._locks.pop(item, None)
        return None

    async def _delete_copy(self, item: Item) -> None:
        if copy := self._copy(item):
            await self._copies.delete(item.kind, copy.metadata)

    async def _sync_payload(self, item: Payload) -> None:
        source = await self._sources.payload(item)
        if source is None:  # it may be optional, and may be created later: the watch will show it
            await self._delete_copy(item)
            return
        copy = self._copy(item)
        if copy is None or copy.digest != digest(source.data, source.binary_data):
            await self._copies.put(item.kind, member_payload(item.kind, source, self._names), copy)

    async def _sync_trust_anchors(self, item: TrustAnchors) -> None:
        query = BundleQuery(item.query)
        anchors = query.answer(await self._sources.trust_bundles())
        if anchors is None:  # they may be created later; running pods keep what they have
            await self._delete_copy(item)
            return
        manifest, copy = trust_manifest(query, anchors, item.namespace, self._names), self._copy(item)
        if copy is None or copy.digest != digest(manifest["data"]):
            await self._copies.put(item.kind, manifest, copy)

    async def _sync_tokens(self, item: Tokens) -> float:
        pod, named = self._tokens[item]
        copy = self._copy(item)
        now = self._parent.server_time()
        if copy is not None:
            renew = datetime.fromisoformat(copy.metadata.annotations[wellknown.TOKEN_RENEW])
            if renew > now:
                return (renew - now).total_seconds()
        requested = await asyncio.gather(*(self._request(pod, named, source) for source in named.tokens))
        expires = min(token.expiration_timestamp for token in requested)
        renew = now + min((expires - now) * _RENEW_AT, _RENEW_AFTER)
        tokens = {source.key: token.token for source, token in zip(named.tokens, requested, strict=True)}
        manifest = token_manifest(pod, tokens, rfc3339(expires), rfc3339(renew), self._names)
        await self._copies.put(item.kind, manifest, copy)
        return max(1.0, (renew - now).total_seconds())

    async def _request(self, pod: Metadata, named: Needs, source: TokenSource) -> Token:
        account, seconds = named.service_account, source.expiration_seconds
        try:
            return await request_token(self._parent, account, pod, audience=source.audience, seconds=seconds)
        except NotFoundError as error:
            raise NotMountedError(f"failed to fetch a token of the pod's service account: {error.message}") from error
