"""Writes the status of one Node: what differs from what was written last, and all of it every minute."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.objects import Node, PartialObject, node_conditions
from vk_provider.kube.resources import NODES
from vk_provider.sync.nodes.refusals import REFUSED, Refusals
from vk_provider.translate.nodes import status as translate
from vk_provider.translate.nodes.offer import Offer
from vk_provider.translate.nodes.record import offer_of
from vk_provider.translate.nodes.wanted import Wanted
from vk_provider.translate.state.health import Assessment

_HEARTBEAT: Final = 60.0  # seconds between status writes when nothing changes
_RESOURCES: Final = ("capacity", "allocatable")

Body = dict[str, Any]


@dataclass(frozen=True)
class Address:
    """Of the kubelet API: the node's name, and the address of this process."""

    node: str
    ip: str


class StatusWriter:
    """Owns what was written. One call of `write` at a time."""

    def __init__(self, parent: Client, address: Address, own_version: str) -> None:
        self._parent, self._address, self._own_version = parent, address, own_version
        self.port = 0  # of the kubelet API, once it is served
        self._since: dict[str, tuple[str, str]] = {}  # condition -> its status, and when it became that
        self._sent = Offer()  # our resources in the Node's status
        self._body: Body = {}  # what was written last, without times
        self._refusals = Refusals()
        self.due = 0.0  # loop time of the next heartbeat
        self.written = asyncio.Event()

    def adopt(self, node: Node) -> None:
        """The Node is there, with this status."""
        found = node_conditions(node)
        self._since = {type: (each.status, each.last_transition_time or "") for type, each in found.items()}
        self._sent = offer_of(node)
        self.rewrite()

    def rewrite(self) -> None:
        """The next `write` writes, even if nothing has changed."""
        self._body = {}

    def stops_being_ready(self, conditions: list[dict[str, Any]]) -> bool:
        """Whether these conditions are the first ones with which the node is not Ready."""
        ready = next(condition["status"] for condition in conditions if condition["type"] == "Ready")
        return ready == "False" and self._since.get("Ready", ("", ""))[0] != "False"

    def conditions(self, wanted: Wanted, health: Assessment) -> list[dict[str, Any]]:
        """The conditions without times."""
        ready, *why_ready = health.node_ready
        if ready and wanted.ready.reason:
            ready, *why_ready = wanted.ready.ready, wanted.ready.reason, wanted.ready.message
        reachable, *why_reachable = health.reachable
        found = translate.conditions(wanted.nodes)
        found.append(_condition("Ready", "True" if ready else "False", *why_ready))
        found.append(_condition(wellknown.MEMBER_REACHABLE, reachable, *why_reachable))
        return found

    def body(self, wanted: Wanted, conditions: list[dict[str, Any]], version: str) -> Body:
        """The status without times. `version`: that of the member's API server."""
        return {
            "capacity": wanted.offer.capacity,
            "allocatable": wanted.offer.allocatable,
            "conditions": conditions,
            "nodeInfo": translate.node_info(wanted.nodes, version, self._own_version),
            "addresses": [
                {"type": "InternalIP", "address": self._address.ip},
                {"type": "Hostname", "address": self._address.node},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}} if self.port else None,
            "declaredFeatures": translate.declared_features(wanted.nodes, version, served=bool(self.port)),
        }

    def complete(self, body: Body) -> Body:
        """The body with the times of its conditions: the status of a Node that is created."""
        found = {name: value for name, value in body.items() if value}
        found["conditions"] = self._timed(body["conditions"])
        return found

    async def write(self, uid: str, body: Body) -> list[str]:
        """Writes the status of the Node with that UID if it differs, or if a heartbeat is due.

        Returns what the parent refuses: the rest is written without it. Raises the other errors of the parent.
        """
        now = asyncio.get_running_loop().time()
        if body == self._body and now < self.due:
            return self._refusals.messages
        patch: Body = {
            **body,
            **{name: _replacing(getattr(self._sent, name), body[name]) for name in _RESOURCES},
            "conditions": self._timed(body["conditions"]),
        }
        resources = {name: body[name] for name in _RESOURCES}
        rest = {name: value for name, value in body.items() if name not in _RESOURCES}
        # The most complete one that the parent accepts. Whether the node is Ready matters more than all else.
        attempts = (("resources", resources, set(body)), ("status", rest, set(rest)))
        for part, content, names in attempts:
            if self._refusals.holds(part, content, now):
                continue
            try:
                await self._patch(uid, {name: patch[name] for name in names})
            except REFUSED as error:
                self._refusals.note(part, content, now, error)
                continue
            self._refusals.accepted(part)
            if part == "resources":
                self._refusals.accepted("status")
                self._sent = Offer(dict(body["capacity"]), dict(body["allocatable"]))
            break
        else:
            with contextlib.suppress(*REFUSED):
                await self._patch(uid, {"conditions": patch["conditions"]})
        self._body, self.due = body, now + _HEARTBEAT
        self.written.set()
        return self._refusals.messages

    async def _patch(self, uid: str, status: Body) -> None:
        await self._parent.patch(
            NODES,
            self._address.node,
            {"metadata": {"uid": uid}, "status": status},
            type=PartialObject,
            patch_type=PatchType.STRATEGIC,
            subresource="status",
        )

    def _timed(self, conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        now, found = self._parent.timestamp(), []
        for condition in conditions:
            status, since = self._since.get(condition["type"], ("", ""))
            if status != condition["status"] or not since:
                since = now
            self._since[condition["type"]] = (condition["status"], since)
            found.append({**condition, "lastHeartbeatTime": now, "lastTransitionTime": since})
        return found


def _condition(type: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": type, "status": status, "reason": reason, "message": message}


def _replacing(sent: dict[str, str], wanted: dict[str, str]) -> dict[str, str | None]:
    """The merge patch of a map: what was sent before and is no longer wanted is removed."""
    return {**wanted, **{name: None for name in sent if name not in wanted}}
