"""The differences between the parent and its members: a pure function over the objects in the three API servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.invariants import TERMINAL
from vk_provider.api import wellknown

Json = dict[str, Any]


@dataclass(frozen=True)
class Contents:
    """Pods and ConfigMaps of a cluster: of the parent, in the run's namespaces; of a member, those of the provider."""

    pods: Sequence[Json]
    configs: Sequence[Json]


def out_of_sync(parent: Contents, members: Mapping[str, Contents]) -> Iterator[str]:
    """Everything that is out of sync; nothing once the provider has caught up."""
    for pod in parent.pods:
        yield from _pod(pod, members)
    living = {pod["metadata"]["uid"] for pod in parent.pods}
    for name, contents in members.items():
        for pod in contents.pods:
            if pod["metadata"]["annotations"].get(wellknown.PARENT_UID) not in living:
                yield f"{name}: pod {_key(pod)} has no parent pod"
        yield from _configs(name, parent, contents)


def problems_of_node(node: Json, provider_id: str) -> Iterator[str]:
    """What a virtual node of a member that is served lacks."""
    name, spec = node["metadata"]["name"], node["spec"]
    ready = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", ())}.get("Ready")
    if ready != "True":
        yield f"Node {name} is not Ready: {ready}"
    if taints := [f"{taint['key']}:{taint['effect']}" for taint in spec.get("taints", ())]:
        yield f"Node {name} has taints: {', '.join(taints)}"
    if spec.get("providerID", "") != provider_id:
        yield f"Node {name} has the providerID {spec.get('providerID')}"
    if node["metadata"].get("labels", {}).get(wellknown.CLUSTER_LABEL) != name:
        yield f"Node {name} lacks its labels"


def _pod(pod: Json, members: Mapping[str, Contents]) -> Iterator[str]:
    node, status = pod["spec"].get("nodeName", ""), pod.get("status", {})
    if "deletionTimestamp" in pod["metadata"]:
        held, grace = pod["metadata"].get("finalizers", []), pod["metadata"].get("deletionGracePeriodSeconds")
        there = [one["status"].get("phase") for one in members[node].pods if _key(one) == _key(pod)] if node else []
        state = f"{status.get('phase')}, {held=}, {grace=}, {there=}"
        yield f"parent: pod {_key(pod)} on {node} is still being deleted: {state}"
    elif status.get("phase") in TERMINAL:
        return
    elif not node:
        yield f"parent: pod {_key(pod)} is not scheduled"
    else:
        found = [one for one in members[node].pods if _key(one) == _key(pod)]
        if not found or found[0]["metadata"]["annotations"].get(wellknown.PARENT_UID) != pod["metadata"]["uid"]:
            yield f"{node}: pod {_key(pod)} is not there"
        else:
            yield from (f"{node}: pod {_key(pod)}: {text}" for text in _differences(pod, found[0]))


def _differences(parent: Json, member: Json) -> Iterator[str]:
    if "deletionTimestamp" in member["metadata"]:
        yield "is being deleted in the member"
    for side, pod in (("parent", parent), ("member", member)):
        ready = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}.get("Ready")
        if (pod["status"].get("phase"), ready) != ("Running", "True"):
            yield f"{pod['status'].get('phase')}, Ready {ready} in the {side}"
    labels = [_users_labels(pod) for pod in (parent, member)]
    if labels[0] != labels[1]:
        yield f"labels {labels[1]} in the member, {labels[0]} in the parent"
    images = [[one["image"] for one in pod["spec"]["containers"]] for pod in (parent, member)]
    if images[0] != images[1]:
        yield f"images {images[1]} in the member, {images[0]} in the parent"
    if _restarts(parent) < _restarts(member):
        yield f"{_restarts(member)} restarts in the member, {_restarts(parent)} in the parent"


def _users_labels(pod: Json) -> Json:
    """Labels except those of the provider, and except those of the node, which the binding sets."""
    labels: Json = pod["metadata"].get("labels", {})
    return {key: value for key, value in labels.items() if not key.startswith((wellknown.DOMAIN, "topology."))}


def _configs(member: str, parent: Contents, contents: Contents) -> Iterator[str]:
    there = {_key(config): config.get("data") for config in parent.configs}
    copies = {_original(config): config.get("data") for config in contents.configs}
    on_it = [pod for pod in parent.pods if pod["spec"].get("nodeName") == member]
    used = {key for pod in on_it for key in _references(pod)}
    wanted = {key for pod in on_it if pod["status"].get("phase") not in TERMINAL for key in _references(pod)}
    for key in copies.keys() - used:
        yield f"{member}: ConfigMap {key} is left behind"
    for key in wanted:
        if there.get(key) != copies.get(key):
            yield f"{member}: ConfigMap {key} is {copies.get(key)} and should be {there.get(key)}"


def _references(pod: Json) -> Iterator[str]:
    for container in pod["spec"]["containers"]:
        for source in container.get("envFrom", ()):
            yield f"{pod['metadata']['namespace']}/{source['configMapRef']['name']}"


def _restarts(pod: Json) -> int:
    return sum(one.get("restartCount", 0) for one in pod["status"].get("containerStatuses", ()))


def _original(copy: Json) -> str:
    """The key of a copy's original; a copy whose annotations are damaged has none."""
    annotations = copy["metadata"].get("annotations", {})
    return f"{annotations.get(wellknown.PARENT_NAMESPACE)}/{annotations.get(wellknown.PARENT_NAME)}"


def _key(item: Json) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"
