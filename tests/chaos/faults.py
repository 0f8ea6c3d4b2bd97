"""The faults of a plan: how each begins, and how it ends. The end of a fault may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.link import FAULTS as LINK_FAULTS
from vk_provider.kube.resources import NODES, PODS

if TYPE_CHECKING:
    from tests.chaos.world import World

Act = Callable[["World", str], None]


@dataclass(frozen=True)
class Fault:
    """`begin` and `end` get the place. They raise ApiFailure. `asks`: the place's cluster has to answer for either."""

    begin: Act
    end: Act
    asks: bool = False


def member_of(place: str) -> str:
    """The cluster of a place: `alpha`, `alpha account` and `alpha-1` are places of alpha."""
    return place.partition(" ")[0].partition("-")[0]


def _of_link(name: str) -> Fault:
    return Fault(lambda world, place: world.links[place].fault(name), lambda world, place: world.links[place].heal())


def _renew_token(world: World, place: str) -> None:
    world.accounts[member_of(place)].replace_token()


def _grant(world: World, place: str) -> None:
    world.accounts[member_of(place)].grant_permissions()


def _drain(world: World, node: str) -> None:
    """As `kubectl drain` does: cordons the node, and evicts its pods."""
    member = member_of(node)
    cluster = world.clusters[member]
    cluster.patch(NODES, node, {"spec": {"unschedulable": True}})
    for pod in world.recorded(world.member_pods(member)):
        if pod["spec"].get("nodeName") == node:
            metadata = pod["metadata"]
            world.history.interfere(metadata["uid"])
            names = {"name": metadata["name"], "namespace": metadata["namespace"]}
            options = {"deleteOptions": {"preconditions": {"uid": metadata["uid"]}}}
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": names, **options}
            cluster.call("POST", PODS.path(metadata["name"], metadata["namespace"], "eviction"), body)


def _uncordon(world: World, node: str) -> None:
    world.clusters[member_of(node)].patch(NODES, node, {"spec": {"unschedulable": None}})


def _leave(*, crash: bool, reported: bool) -> Act:
    return lambda world, node: world.machines.leave(node, crash=crash, reported=reported)


def _remove(world: World, node: str) -> None:
    """The machine is destroyed, and its Node is deleted, as an autoscaler does. Another one of that name follows."""
    world.machines.leave(node, crash=True, reported=False)
    world.clusters[member_of(node)].delete(NODES, node)


def _come_back(world: World, node: str) -> None:
    world.machines.come_back(node)


TABLE: Final[Mapping[str, Fault]] = {
    **{name: _of_link(name) for name in LINK_FAULTS},
    "stopped": Fault(
        lambda world, name: world.clusters[name].stop("apiserver"),
        lambda world, name: world.clusters[name].start("apiserver"),
    ),
    "cut": Fault(lambda world, name: world.clusters[name].cut(), lambda world, name: world.clusters[name].heal()),
    "token expired": Fault(
        lambda world, place: world.accounts[member_of(place)].expire_token(), _renew_token, asks=True
    ),
    "no rights": Fault(lambda world, place: world.accounts[member_of(place)].withdraw_permissions(), _grant, asks=True),
    "fewer rights": Fault(
        lambda world, place: world.accounts[member_of(place)].withdraw_optional_permissions(), _grant, asks=True
    ),
    "drained": Fault(_drain, _uncordon, asks=True),
    # The node controller notices after 50 s that a node is silent. One that is isolated is reported not Ready at once.
    "silent": Fault(_leave(crash=False, reported=False), _come_back),
    "isolated": Fault(_leave(crash=False, reported=True), _come_back, asks=True),
    "crashed": Fault(_leave(crash=True, reported=True), _come_back, asks=True),
    "removed": Fault(_remove, _come_back, asks=True),
    "flood": Fault(
        lambda world, place: world.flood(member_of(place)), lambda world, place: world.end_flood(member_of(place))
    ),
}
UNREACHABLE: Final = frozenset({"stopped", "cut"})  # the API server does not answer anyone
