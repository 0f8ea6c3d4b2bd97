"""Forwards the member's Events about our pods to the parent, as Events about the parent pods.

Each Event of the member is one Event of the parent, with the count that it has there. What the member's kubelet
reports appears to come from the kubelet of the virtual node. Warnings are always forwarded, Normal Events up to a
kubelet's rate (50 a second), and none that is older than this process. The member scheduler's "Scheduled" is left out:
the parent has one from its own scheduler. Events are hints: none is guaranteed to arrive.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata, Pod
from vk_provider.kube.recorder import ForwardedEvent, Recorder
from vk_provider.kube.resources import EVENTS, PODS
from vk_provider.kube.watch import Follower
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.names import with_parent_names
from vk_provider.translate.state.rights import ALL_RIGHTS, Feature, Rights

_NORMAL_PER_SECOND: Final = 50.0
# Seconds; more than a watch lasts. API servers send no bookmarks with Events, which they do not cache: a member where
# nothing happens is silent, and not broken.
_INACTIVITY: Final = 660.0
_LEFT_OUT: Final = frozenset({"Scheduled"})


class _Involved(msgspec.Struct, rename="camel", gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    field_path: str = ""


class _Series(msgspec.Struct, rename="camel", gc=False):
    count: int = 0
    last_observed_time: str = ""


class _Source(msgspec.Struct, frozen=True, gc=False):
    component: str = ""


class MemberEvent(msgspec.Struct, rename="camel", gc=False):
    """An Event of the member about a pod."""

    metadata: Metadata
    involved_object: _Involved
    type: str = "Normal"
    reason: str = ""
    message: str = ""
    count: int | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    series: _Series | None = None  # of those that are written in the newer form: the scheduler's
    source: _Source = _Source()
    reporting_component: str = ""

    def for_parent(self, parent: Metadata, node: str) -> ForwardedEvent:
        """The same Event about a parent pod of virtual node `node`.

        A kubelet of the member is the kubelet of the virtual node. Another component is named with the node: users must
        not take the member's scheduler for that of the parent.
        """
        first = self.first_timestamp or self.event_time or self.metadata.creation_timestamp or ""
        last = self.series.last_observed_time if self.series else self.last_timestamp
        component = self.source.component or self.reporting_component
        return ForwardedEvent(
            name=f"{parent.name[:200].rstrip('.-')}.{hashlib.sha256(self.metadata.uid.encode()).hexdigest()[:16]}",
            component=component if component in ("", "kubelet") else f"{node}/{component}",
            host=node,
            field_path=self.involved_object.field_path,
            count=(self.series.count if self.series else self.count) or 1,
            first=_seconds(first),
            last=_seconds(last or first),
        )


def _seconds(moment: str) -> str:
    """Event times of the newer form have a fraction, and those of the older one must not."""
    return moment[:19] + "Z" if "." in moment else moment


def member_events(client: Client) -> Follower[MemberEvent]:
    """The member's Events about pods, from now on. None is kept: a busy member has 100,000 of them."""
    return Follower(client, EVENTS, MemberEvent, fields="involvedObject.kind=Pod", inactivity=_INACTIVITY)


class EventLoop:
    """Forwards the Events of one member until it is cancelled."""

    def __init__(
        self,
        nodes: Sequence[PodCaches],
        events: Follower[MemberEvent],
        recorder: Recorder,
        rights: Rights = ALL_RIGHTS,
    ) -> None:
        """`nodes`: the pods of each virtual node of the member."""
        self._permitted = rights.has(Feature.EVENTS)
        self._nodes, self._events, self._recorder = nodes, events, recorder
        self._allowance = _NORMAL_PER_SECOND
        self._refilled = 0.0

    async def run(self) -> None:
        """Listens until cancelled. Returns at once if the provider may not read the member's Events."""
        if not self._permitted:
            return
        await self._events.run(self._observed)

    def _observed(self, event: MemberEvent) -> None:
        if event.reason in _LEFT_OUT:
            return
        about = event.involved_object
        for pods in self._nodes:
            pair = pods.pair(about.namespace, about.name)
            if pair is None or pair[1].metadata.uid != about.uid:
                continue
            if event.type != "Normal" or self._allowed():
                self._forward(event, *pair, pods.names.node)
            return

    def _forward(self, event: MemberEvent, parent: Pod, member: Pod, node: str) -> None:
        original = event.for_parent(parent.metadata, node)
        message = with_parent_names(event.message, parent.metadata, member.metadata)
        self._recorder.forward(PODS, parent.metadata, event.type, event.reason, message, original)

    def _allowed(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._allowance = min(_NORMAL_PER_SECOND, self._allowance + (now - self._refilled) * _NORMAL_PER_SECOND)
        self._refilled = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
