"""What the member says about our pods, said again about the parent pods.

Each Event of the member is one of the parent, with the count that it has there: what the member's kubelet says comes
from the kubelet of the virtual node. Warnings always, Normal events up to a kubelet's rate (50 a second), and none that
is older than this process. The member scheduler's "Scheduled" is left out: the parent has one of its own. An Event is a
hint: none is owed.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Pod
from vk_provider.kube.recorder import ForwardedEvent, Recorder
from vk_provider.kube.resources import EVENTS, PODS
from vk_provider.translate.names import Names, said_of_parent

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

    def told(self, parent: Metadata, node: str) -> ForwardedEvent:
        """As an Event about a parent pod of virtual node `node`."""
        first = self.first_timestamp or self.event_time or self.metadata.creation_timestamp or ""
        last = self.series.last_observed_time if self.series else self.last_timestamp
        return ForwardedEvent(
            name=f"{parent.name[:200].rstrip('.-')}.{hashlib.sha256(self.metadata.uid.encode()).hexdigest()[:16]}",
            component=self.source.component or self.reporting_component,
            host=node,
            field_path=self.involved_object.field_path,
            count=(self.series.count if self.series else self.count) or 1,
            first=_seconds(first),
            last=_seconds(last or first),
        )


def _seconds(moment: str) -> str:
    """Event times of the newer form have a fraction, and those of the older one must not."""
    return moment[:19] + "Z" if "." in moment else moment


def member_events(client: Client) -> Informer[MemberEvent]:
    """Informer of the member's Events about pods."""
    return Informer(client, EVENTS, MemberEvent, fields="involvedObject.kind=Pod", inactivity=_INACTIVITY)


class EventLoop:
    """See the module's text."""

    def __init__(
        self,
        names: Names,
        parent_pods: Informer[Pod],
        member_pods: Informer[Pod],
        events: Informer[MemberEvent],
        recorder: Recorder,
    ) -> None:
        self._names, self._recorder = names, recorder
        self._parent_pods, self._member_pods, self._events = parent_pods, member_pods, events
        self._allowance = _NORMAL_PER_SECOND
        self._refilled = 0.0

    async def run(self) -> None:
        """Listens until cancelled."""
        self._events.on_change(self._changed)
        await self._events.run()

    def _changed(self, before: MemberEvent | None, after: MemberEvent | None) -> None:
        if after is None or not self._events.synced.is_set() or after.reason in _LEFT_OUT:
            return
        about = after.involved_object
        member = self._member_pods.items.get(f"{about.namespace}/{about.name}")
        if member is None or member.metadata.uid != about.uid:
            return
        parent = self._parent_pods.items.get(self._names.parent_key(member.metadata))
        if parent is None or parent.metadata.uid != member.metadata.annotations.get(wellknown.PARENT_UID):
            return
        if after.type == "Normal" and not self._allowed():
            return
        told = after.told(parent.metadata, self._names.node)
        message = said_of_parent(after.message, parent.metadata, member.metadata)
        self._recorder.forward(PODS, parent.metadata, after.type, after.reason, message, told)

    def _allowed(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._allowance = min(_NORMAL_PER_SECOND, self._allowance + (now - self._refilled) * _NORMAL_PER_SECOND)
        self._refilled = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
