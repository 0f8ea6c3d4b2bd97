"""Holds pods on a lost member if they ask for it and no other node fits them, and releases them again.

A member that answers, and none of whose nodes is Ready any more, counts as lost here.

    lost:    asks to be held, and no other Ready node fits --> tolerates the not-ready taints without limit; Event
             is held, and another node fits now            --> released
    healthy: is held, and the node has no not-ready taint  --> released

Owns the annotation `vk-provider.io/held`. All its state is in the objects: it may be killed at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.errors import ConflictError, NotFoundError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Node, Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, PODS
from vk_provider.observable import Observable
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.hold import (
    asks,
    hold_patch,
    is_held,
    release_patch,
    takes_pods,
)
from vk_provider.translate.nodes.readiness import NodesReady
from vk_provider.translate.selectors import node_affinity_matches
from vk_provider.translate.state.health import State
from vk_provider.translate.tolerations import DEAD_NODE_TAINTS

log = logging.getLogger(__name__)

_LOOK: Final = 10.0  # seconds between looks while there is something to look after
_FIRST_LOOK: Final = 5.0  # seconds that the virtual node waits for the holds before it is not Ready


class _Taint(msgspec.Struct):
    key: str


class _Spec(msgspec.Struct):
    taints: list[_Taint] = []


class HoldLoop:
    """Holds and releases the pods of one virtual node until it is cancelled."""

    def __init__(
        self,
        node: str,
        parent: Client,
        pods: Informer[Pod],
        state: MemberState,
        nodes_ready: Observable[NodesReady],
        recorder: Recorder,
    ) -> None:
        """`node` is the name of the virtual node, `pods` are its parent pods. `nodes_ready`: whether the nodes of the
        member are Ready."""
        self._node, self._parent, self._pods, self._recorder = node, parent, pods, recorder
        self._state, self._nodes_ready = state, nodes_ready
        self._changed = asyncio.Event()

    async def before_not_ready(self) -> None:
        """Returns when the pods of a lost member are held, or after a few seconds: once the node is not Ready,
        Kubernetes starts to evict them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK):
                await self._look()
        self._changed.set()

    async def run(self) -> None:
        """Works until cancelled."""
        self._state.on_change(self._changed.set)
        self._nodes_ready.subscribe(self._changed.set)
        while True:
            self._changed.clear()
            await self._look()
            idle = not self._lost and not any(map(is_held, self._pods.items.values()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if idle else _LOOK):
                    await self._changed.wait()

    @property
    def _lost(self) -> bool:
        return bool(self._state.lost_reason) or not self._nodes_ready.value.ready

    async def _look(self) -> None:
        try:
            if self._lost:
                await self._hold()
            elif self._state.health.state is State.HEALTHY:
                await self._release()
        except VkError as error:
            log.warning("pods not held or released", extra={"node": self._node, "error": str(error)})

    async def _hold(self) -> None:
        candidates = [pod for pod in self._pods.items.values() if asks(pod) or is_held(pod)]
        if not candidates:
            return
        nodes = [
            node.metadata
            async for page in self._parent.pages(NODES, type=Node)
            for node in page.items
            if node.metadata.name != self._node and takes_pods(node)
        ]
        for pod in candidates:
            await self._judge(pod, nodes)

    async def _judge(self, pod: Pod, nodes: list[Metadata]) -> None:
        wanted = asks(pod) and not node_affinity_matches(pod, nodes)
        if wanted and not is_held(pod):
            if await self._patch(pod, hold_patch(pod)):
                message = "held on its lost member: no other Ready node fits it"
                self._recorder.event(PODS, pod.metadata, "Warning", wellknown.POD_HELD, message)
        elif not wanted and is_held(pod):
            await self._patch(pod, release_patch(pod))

    async def _release(self) -> None:
        held = [pod for pod in self._pods.items.values() if is_held(pod)]
        if not held:
            return
        node = await self._parent.get(NODES, self._node, type=Node)
        taints = msgspec.json.decode(node.spec, type=_Spec).taints
        if any(taint.key in DEAD_NODE_TAINTS for taint in taints):
            return  # Kubernetes removes them; a pod that gets its seconds back before that would be evicted
        for pod in held:
            await self._patch(pod, release_patch(pod))

    async def _patch(self, pod: Pod, patch: dict[str, object]) -> bool:
        """Whether it was written; if not, the pod has changed and is looked at again."""
        try:
            written = await self._parent.patch(PODS, pod.metadata.name, patch, pod.metadata.namespace, type=Pod)
        except (ConflictError, NotFoundError):
            self._changed.set()
            return False
        self._pods.observe(written)
        return True
