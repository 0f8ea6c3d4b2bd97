"""ConfigMaps, Secrets, tokens and trust anchors that pods name, kept in the member as long as a pod there needs them.

Level-triggered by item: an item that has users and exists in the parent is in the member with the same contents; any
other copy of ours is deleted, a while after its last user, because the next one may be near. Tokens are requested from
the parent, bound to the parent pod, and renewed at 80 % of their life. Owns which pod uses which item. What the parent
has is in `sources`, what is in the member in `copies`.

Copies have names of their own. A member pod that an earlier version made names the originals: its copies have those
names, and follow their originals in the background, until the pod ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import ApiAccess
from vk_provider.errors import ApiError, NameTakenError, NotMountedError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata, Pod
from vk_provider.kube.timestamps import rfc3339
from vk_provider.kube.tokens import Token, request_token
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.dependents.copies import Copies
from vk_provider.sync.dependents.items import Item, Payload, Tokens, TrustAnchors, item_of
from vk_provider.sync.dependents.sources import WATCHES_OF_A_POD, Sources, WatchLimit
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.dependents.copies import Copy, digest, member_payload, token_manifest
from vk_provider.translate.dependents.needs import Needs, TokenSource, named_as_originals, needs
from vk_provider.translate.dependents.trust_bundles import BundleQuery, trust_manifest
from vk_provider.translate.pods.pod import Target
from vk_provider.translate.references import Kind

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 5.0  # seconds until copies that are kept for now are looked at again
LINGER: Final = 20.0  # seconds that a copy stays after its last pod: a singleton is replaced within seconds
_CONFLICT_RETRY: Final = 30.0  # seconds until a taken name is tried again
_RENEW_AT: Final = 0.8  # of a token's life, as a kubelet
_RENEW_AFTER: Final = timedelta(hours=24)  # at the latest, as a kubelet


class _Turn:
    """The lock of an item, and how many tasks hold it or wait for it."""

    def __init__(self) -> None:
        self.lock, self.tasks = asyncio.Lock(), 0


class CopyLoop:
    """See the module's text."""

    def __init__(
        self,
        target: Target,
        nodes: Sequence[PodCaches],
        parent: Client,
        copies: Copies,
        state: MemberState,
        limit: WatchLimit,
        tasks: asyncio.TaskGroup,
        *,
        linger: float = LINGER,
    ) -> None:
        """`nodes`: the pods of each virtual node. `tasks` runs the watches of the parent's objects.

        `linger`: seconds that a copy stays after its last pod.
        """
        self._linger = linger
        self._target, self._names, self._nodes = target, target.names, nodes
        self._parent, self._copies, self._state = parent, copies, state
        self._users: dict[Item, set[str]] = {}  # item -> UIDs of parent pods
        self._used: dict[str, tuple[Item, ...]] = {}  # UID of a parent pod -> its items
        self._tokens: dict[Tokens, tuple[Metadata, Needs]] = {}  # item -> its parent pod and what that asks for
        self._turns: dict[Item, _Turn] = {}
        self._queue: WorkQueue[Item] = WorkQueue("copies", self._reconcile, workers=8)
        self._sources = Sources(parent, tasks, limit, self._queue.add, self._bundles_changed)

    async def run(self) -> None:
        """Works until cancelled. The copies must be synced and every living pod adopted."""
        for kind, informer in self._copies.lists.items():
            informer.on_change(partial(self._copy_changed, kind))
        await self._queue.run()

    def adopt(self, pod: Pod) -> None:
        """Registers what a pod names, so that none of it counts as unused."""
        found, uid = self._items(pod), pod.metadata.uid
        for item in set(self._used.get(uid, ())) - set(found):
            self._drop(item, uid)
        self._used[uid] = found
        for item in found:
            if item not in self._users and _in_background(item):
                self._queue.add(item)
            self._users.setdefault(item, set()).add(uid)

    async def ensure(self, pod: Pod) -> None:
        """Returns when everything that the pod names and that exists in the parent is in the member.

        Raises NotMountedError if the service account does not exist, NameTakenError if another client has made an
        object with the name of a copy, and the errors of the API servers.
        """
        self.adopt(pod)
        for item in self._used[pod.metadata.uid]:
            if not _in_background(item) and (delay := await self._sync(item)) is not None:
                self._queue.add_after(item, delay)

    def release(self, pod_uid: str) -> None:
        """The pod no longer exists: what no other pod uses is deleted."""
        for item in self._used.pop(pod_uid, ()):
            self._drop(item, pod_uid)

    def _drop(self, item: Item, pod_uid: str) -> None:
        users = self._users.get(item, set())
        users.discard(pod_uid)
        if not users:
            self._users.pop(item, None)
            if isinstance(item, Tokens):
                self._queue.add(item)
            else:
                self._queue.add_after(item, self._linger)

    def _items(self, pod: Pod) -> tuple[Item, ...]:
        named = needs(pod)
        namespace = pod.metadata.namespace
        member = self._member_pod(pod)
        as_originals = named_as_originals(named.references, member, self._names) if member else frozenset()
        found: list[Item] = [
            Payload(one.kind, namespace, one.name, as_original=one in as_originals) for one in sorted(named.references)
        ]
        if named.tokens and self._target.api_access is ApiAccess.PARENT:
            item = Tokens(namespace, pod.metadata.name, pod.metadata.uid)
            self._tokens[item] = (pod.metadata, named)
            found.append(item)
        found += [TrustAnchors(namespace, text) for text in sorted(query.text for query in named.bundles)]
        return tuple(found)

    def _member_pod(self, pod: Pod) -> Pod | None:
        """The running member pod of this parent pod, if it has one."""
        namespace, name = self._names.namespace(pod.metadata.namespace), pod.metadata.name
        pairs = (node.pair(namespace, name) for node in self._nodes)
        return next((pair[1] for pair in pairs if pair and pair[0].metadata.uid == pod.metadata.uid), None)

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
        async with self._turn(item):
            if item not in self._users:
                return await self._remove(item)
            match item:
                case Tokens():
                    return await self._sync_tokens(item)
                case Payload():
                    return await self._sync_payload(item)
                case TrustAnchors():
                    await self._sync_trust_anchors(item)
            return None

    @asynccontextmanager
    async def _turn(self, item: Item) -> AsyncIterator[None]:
        turn = self._turns.setdefault(item, _Turn())
        turn.tasks += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.tasks -= 1
            if not turn.tasks:
                del self._turns[item]

    def _copy(self, item: Item) -> Copy | None:
        """What is in the member for this item. Another object of ours with its name is not."""
        copy = self._found(item)
        return copy if copy and item_of(item.kind, copy, self._names) == item else None

    def _found(self, item: Item) -> Copy | None:
        """The object of ours with the name of this item."""
        namespace = self._names.namespace(item.namespace)
        return self._copies.find(item.kind, f"{namespace}/{item.member_name(self._names)}")

    async def _put(self, item: Item, manifest: dict[str, Any]) -> None:
        """A copy whose annotations another client has damaged is restored. The name of an original may be taken."""
        found = self._found(item)
        if found and _in_background(item) and self._copy(item) is None:
            raise NameTakenError(f"{item.kind} {found.metadata.key} of the member is not a copy of that name")
        await self._copies.put(item.kind, manifest, found)

    async def _remove(self, item: Item) -> float | None:
        """Deletes what no pod uses; not while orphans are held, which may still run and use it."""
        if self._state.orphans_held:
            return _LOOK_AGAIN
        if isinstance(item, Payload):
            self._sources.end(item)
        elif isinstance(item, Tokens):
            self._tokens.pop(item, None)
        await self._delete_copy(item)
        return None

    async def _delete_copy(self, item: Item) -> None:
        if copy := self._copy(item):
            await self._copies.delete(item.kind, copy.metadata)

    async def _sync_payload(self, item: Payload) -> float | None:
        original, again = await self._sources.original(item, may_watch=self._may_watch(item))
        if original is None:  # it may be optional, and may be created later
            await self._delete_copy(item)
            return again
        copy = self._copy(item)
        manifest = member_payload(item.kind, item.member_name(self._names), original.payload, self._names)
        if copy is None or not copy.is_like(manifest, original.digest):
            await self._put(item, manifest)
        return again

    def _may_watch(self, item: Payload) -> bool:
        """Whether it is among the first objects that one of its pods names."""
        return any(item in self._used[uid][:WATCHES_OF_A_POD] for uid in self._users[item])

    async def _sync_trust_anchors(self, item: TrustAnchors) -> None:
        query = BundleQuery(item.query)
        anchors = query.answer(await self._sources.trust_bundles())
        if anchors is None:  # they may be created later; running pods keep what they have
            await self._delete_copy(item)
            return
        manifest, copy = trust_manifest(query, anchors, item.namespace, self._names), self._copy(item)
        if copy is None or not copy.is_like(manifest, digest(manifest["data"])):
            await self._put(item, manifest)

    async def _sync_tokens(self, item: Tokens) -> float:
        pod, named = self._tokens[item]
        copy = self._copy(item)
        now = self._parent.server_time()
        if copy is not None and (renew := _renewal(copy)) and renew > now:
            return (renew - now).total_seconds()
        requested = await asyncio.gather(*(self._request(pod, named, source) for source in named.tokens))
        expires = min(token.expiration_timestamp for token in requested)
        renew = now + min((expires - now) * _RENEW_AT, _RENEW_AFTER)
        tokens = {source.key: token.token for source, token in zip(named.tokens, requested, strict=True)}
        manifest = token_manifest(pod, tokens, rfc3339(expires), rfc3339(renew), self._names)
        await self._put(item, manifest)
        return max(1.0, (renew - now).total_seconds())

    async def _request(self, pod: Metadata, named: Needs, source: TokenSource) -> Token:
        account, seconds = named.service_account, source.expiration_seconds
        try:
            return await request_token(self._parent, account, pod, audience=source.audience, seconds=seconds)
        except ApiError as error:  # of the parent: no answer of the member
            raise NotMountedError(f"failed to fetch a token of the pod's service account: {error.message}") from error


def _renewal(copy: Copy) -> datetime | None:
    """When the tokens are to be renewed; None if another client has damaged the annotation."""
    try:
        return datetime.fromisoformat(copy.metadata.annotations.get(wellknown.TOKEN_RENEW, ""))
    except ValueError:
        return None


def _in_background(item: Item) -> bool:
    """Whether no pod waits for it: its pod runs, and was made by an earlier version."""
    return isinstance(item, Payload) and item.as_original
