"""What administrators and other clients do, in the parent and in members: a function for each action of the plan, and
the controller of a cloud, which acts all the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.chaos.plan import Step
from tests.chaos.watching import Api
from tests.cluster import Json
from tests.waiting import eventually
from vk_provider.api import wellknown
from vk_provider.kube.resources import NAMESPACES, NODES

if TYPE_CHECKING:
    from tests.chaos.world import World

CLOUD: Final = "cloud deletes node"  # the name of this effect
_UNREACHABLE: Final = "the member is not reachable"
_CLOUD_LOOKS_EVERY: Final = 5.0  # seconds: the default of cloud controllers


def _delete_node(world: World, step: Step) -> str | None:
    """An administrator deletes the Node of a member that is lost."""
    if not _within(step, lambda: not is_ready(world.parent.get(NODES, step.about))):
        return "the node is Ready"
    world.parent.delete(NODES, step.about)
    return None


def _see_cloud(world: World, step: Step) -> str | None:
    """Leaves the cloud controller the time to delete the Node."""
    deleted = _within(step, lambda: world.effects[CLOUD] > 0)
    return None if deleted else "the cloud has deleted no Node"


def _within(step: Step, condition: Callable[[], bool]) -> bool:
    try:
        return eventually(condition, step.what, step.args["wait"])
    except AssertionError:
        return False


def _delete_member_pod(world: World, step: Step) -> str | None:
    """Another client of the member deletes a pod of the provider.

    Not while the member does not answer, when the time of the deletion would be unknown. Not a pod whose creation the
    parent pod does not record yet: a documented limit.
    """
    if world.is_unreachable(step.about):
        return _UNREACHABLE
    pods = world.recorded(world.member_pods(step.about))
    if not pods:
        return "no pod"
    world.end_pod(world.clusters[step.about], pods[step.args["index"] % len(pods)], step.args["grace"])
    return None


def _delete_member_namespace(world: World, step: Step) -> str | None:
    """An administrator of the member deletes a namespace in which pods of the provider run."""
    member, namespace = step.about.split("/")
    if world.is_unreachable(member):
        return _UNREACHABLE
    pods = world.member_pods(member, namespace)
    if len(world.recorded(pods)) < len(pods):
        return "a pod is not recorded yet"
    cluster = world.clusters[member]
    if cluster.find(NAMESPACES, namespace) is None:
        return "no namespace"
    for pod in pods:
        world.history.interfere(pod["metadata"]["uid"])
    cluster.delete(NAMESPACES, namespace)
    for pod in world.member_pods(member, namespace):  # also those that were created in the meantime; no others follow
        world.history.interfere(pod["metadata"]["uid"])
    return None


def _replace_token(world: World, step: Step) -> str | None:
    if world.is_unreachable(step.about):
        return _UNREACHABLE
    world.accounts[step.about].replace_token()
    return None


def _reconnect(world: World, step: Step) -> None:
    """The member moves to another address: past the link, or back."""
    world.accounts[step.about].move(step.args["server"])


# Each performs a step; it returns why it did nothing, and raises ApiFailure.
STEPS: Final[Mapping[str, Callable[[World, Step], str | None]]] = {
    "delete node": _delete_node,
    "see the cloud delete a node": _see_cloud,
    "delete member pod": _delete_member_pod,
    "delete member namespace": _delete_member_namespace,
    "replace token": _replace_token,
    "reconnect": _reconnect,
}


async def act_as_cloud(parent: Api, deleted: Callable[[], None]) -> None:
    """Deletes Nodes that are not Ready and that the cloud does not know, until cancelled. It asks by the providerID,
    and leaves a Node alone whose ID it cannot read. Calls `deleted` for each that it deletes.
    """
    while True:
        await asyncio.sleep(_CLOUD_LOOKS_EVERY)
        try:
            nodes = await parent.request("GET", NODES.path()) or {}
            for node in nodes.get("items", ()):
                if is_ready(node) or node["spec"].get("providerID"):
                    continue
                options = {"preconditions": {"uid": node["metadata"]["uid"]}}
                if await parent.request("DELETE", NODES.path(node["metadata"]["name"]), options):
                    deleted()
        except (aiohttp.ClientError, TimeoutError):
            pass


def is_ready(node: Json) -> bool:
    conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True"


def taints_of_ours(node: Json) -> list[str]:
    return [taint["key"] for taint in node["spec"].get("taints", ()) if taint["key"].startswith(wellknown.DOMAIN)]
