"""The member pod that a parent pod becomes.

Works on dicts decoded from the parent's bytes. A field that no rule names passes through unchanged, fields of future
Kubernetes versions included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import ApiAccess
from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.extended import drop_unknown
from vk_provider.translate.names import ROOT_CA, Names
from vk_provider.translate.pods import downward
from vk_provider.translate.pods.constraints import ANY, Scheduling, soften
from vk_provider.translate.pods.projected import has_token, replace_sources
from vk_provider.translate.references import (
    containers,
    field_references,
    mentions_extended_resources,
    named_objects,
    started_containers,
)

# Field of the parent's spec -> why it has no meaning in the member.
DROPPED: Final = {
    "nodeName": "names the virtual node; the member's scheduler picks the real one",
    "schedulerName": "a scheduler of the parent",
    "priority": "computed from the parent's PriorityClass; the parent has preempted already",
    "priorityClassName": "a PriorityClass of the parent",
    "preemptionPolicy": "the parent has preempted already",
    "schedulingGates": "removed in the parent before it scheduled the pod",
    "schedulingGroup": "a PodGroup of the parent, scheduled together there",
    "workloadRef": "the older name of schedulingGroup (1.35)",
    "evictionResponders": "evictions are requested in the parent, and answered there",
    "overhead": "set by the RuntimeClass admission of the member",
    "readinessGates": "their conditions live in the parent, which computes Ready with them",
    "serviceAccountName": "an identity of the parent; its tokens come with the pod",
    "serviceAccount": "the deprecated name of serviceAccountName",
    "ephemeralContainers": "added to the running pod, which is the only way that the API allows",
}
_OWN: Final = f"{wellknown.DOMAIN}/"
# The variables that every kubelet sets for the API server. 443 is the port of the Service; values have the real one.
API_VARIABLES: Final = {
    "KUBERNETES_SERVICE_HOST": "{host}",
    "KUBERNETES_SERVICE_PORT": "{port}",
    "KUBERNETES_SERVICE_PORT_HTTPS": "{port}",
    "KUBERNETES_PORT": "{url}",
    "KUBERNETES_PORT_443_TCP": "{url}",
    "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
    "KUBERNETES_PORT_443_TCP_PORT": "{port}",
    "KUBERNETES_PORT_443_TCP_ADDR": "{host}",
}
_API_NAMES: Final = ("kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
_RESIZABLE: Final = ("cpu", "memory")


@dataclass(frozen=True)
class Owner:
    """The namespace of the member, as the controller of the member pod.

    A pod without a controller is adopted by any ReplicaSet, StatefulSet or Job of the member whose selector matches its
    labels, for example if the same application runs in both clusters. That controller would then delete it as surplus.
    """

    namespace: str
    uid: str

    @property
    def reference(self) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": self.uid, "controller": True}


@dataclass(frozen=True)
class Target:
    """What a translation depends on besides the pod."""

    names: Names
    api_access: ApiAccess = ApiAccess.PARENT
    parent_host: str = ""  # of the parent's API server, as pods of the member reach it
    parent_port: str = ""
    scheduling: Scheduling = ANY

    @cached_property
    def api_environment(self) -> Mapping[str, str]:
        """The variables of the parent's API server; empty if its address is unknown."""
        host, port = self.parent_host, self.parent_port
        url = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        values = {name: form.format(host=host, port=port, url=url) for name, form in API_VARIABLES.items()}
        return values if host and port else {}


def member_pod(
    parent: Pod,
    target: Target,
    *,
    restarts: Mapping[str, int] | None = None,
    owner: Owner | None = None,
    known: Set[str] | None = None,
    tolerations: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """The manifest to create in the member. `restarts`: container name -> restarts in earlier member pods.

    `known`: the resources that the member has or had. None: that is unknown, and all requests stay. `tolerations`: in
    addition to those of the parent pod, for taints of the member's nodes.
    """
    spec = fields(parent.spec)
    account = spec.get("serviceAccountName", "default")
    shown = _translate(spec, parent, target)
    if known is not None and mentions_extended_resources(parent):
        drop_unknown(spec, known)
    if tolerations:
        spec["tolerations"] = [*spec.get("tolerations", ()), *tolerations]
    metadata = _metadata(parent, target.names, shown)
    metadata["annotations"] |= {
        wellknown.PARENT_SERVICE_ACCOUNT: account,
        wellknown.APPLIED: _json(applied_record(spec)),
    }
    if restarts:
        metadata["annotations"][wellknown.RESTARTS] = _json(restarts)
    if shown:
        downward.make_room(metadata["annotations"], parent.metadata, shown)
    if owner:
        metadata["ownerReferences"] = [owner.reference]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def member_spec(spec: dict[str, Any], parent: Pod, target: Target) -> dict[str, Any]:
    """Changes `spec`, that of a parent pod, into that of a member pod, and returns it."""
    _translate(spec, parent, target)
    return spec


def may_lose_fields(parent: Pod, target: Target) -> bool:
    """Whether the member pod may lack something that a user relies on; `differences` finds it. Cheap, and a False is
    always right.
    """
    spec = bytes(parent.spec)
    if (
        b'"persistentVolumeClaim"' in spec
        or b'"podAffinity"' in spec
        or b'"podAntiAffinity"' in spec
        or b'"topologySpreadConstraints"' in spec
        or mentions_extended_resources(parent)
    ):
        return True
    match target.api_access:
        case ApiAccess.NONE:
            return b'"serviceAccountToken"' in spec
        case ApiAccess.MEMBER:
            return spec.count(b'"serviceAccountName"') > spec.count(b'"serviceAccountName":"default"')
    return False


def applied_record(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The images and resizable resources of a translated spec, to be recorded in an annotation of the member pod.

    The member's admission may change them: images of a mirror, larger requests. A comparison with the member pod would
    revert that, on a running container. The record shows whether the parent pod has changed. Absent parts have no
    entry.
    """
    return {part: value for part, value in _recorded(spec) if value}


def image_part(kind: str, container: str) -> str:
    """Key of a container's image in the record; `kind` is the list that the container is in."""
    return f"{kind}/{container}/image"


def resources_part(kind: str = "", container: str = "") -> str:
    """Key of a container's resources in the record, or of the pod's own resources."""
    return f"{kind}/{container}/resources" if container else "resources"


def resizable(resources: Mapping[str, Any] | None) -> dict[str, Any]:
    """The part of resources that a resize may change
    (https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/#limitations).
    """
    found: dict[str, Any] = {}
    for kind in ("requests", "limits"):
        if quantities := (resources or {}).get(kind):
            if kept := {name: value for name, value in quantities.items() if name in _RESIZABLE}:
                found[kind] = kept
    return found


def _recorded(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for kind, container in started_containers(spec):
        yield image_part(kind, container["name"]), container.get("image")
        yield resources_part(kind, container["name"]), resizable(container.get("resources"))
    yield resources_part(), resizable(spec.get("resources"))


def _translate(spec: dict[str, Any], parent: Pod, target: Target) -> Set[str]:
    """Changes the spec of a parent pod into that of a member pod. Returns the fieldPaths that the parent pod uses."""
    shown = _rewrite_field_refs(spec, target)  # those of ephemeral containers, too, which are added later
    for field in DROPPED:
        spec.pop(field, None)
    if selector := spec.pop("nodeSelector", None):
        if kept := {key: value for key, value in selector.items() if key in target.scheduling.platform}:
            spec["nodeSelector"] = kept
    if "affinity" in spec or "topologySpreadConstraints" in spec:
        soften(spec, target.names, target.scheduling)
    if target.scheduling.priority_class:
        spec["priorityClassName"] = target.scheduling.priority_class
    spec["automountServiceAccountToken"] = False
    _name_copies(spec, target)
    if any("projected" in volume for volume in spec.get("volumes") or ()):
        replace_sources(spec, parent.metadata, target.names, target.api_access)
    if target.api_access is ApiAccess.PARENT:
        _add_api_address(spec, target)
    return shown


def _metadata(parent: Pod, names: Names, shown: Set[str]) -> dict[str, Any]:
    """`shown`: the fieldPaths that the parent pod uses."""
    labels = {key: value for key, value in parent.metadata.labels.items() if not key.startswith(_OWN)}
    annotations = {key: value for key, value in parent.metadata.annotations.items() if not key.startswith(_OWN)}
    ours = names.annotations(parent.metadata)
    ours[wellknown.METADATA_KEYS] = _json([sorted(labels), sorted(annotations)])
    if shown:
        ours |= downward.kept(parent.metadata, shown)
    if parent.metadata.annotations.get(wellknown.AT_MOST_ONCE) == "true":
        ours[wellknown.AT_MOST_ONCE] = "true"
    return {
        "name": parent.metadata.name,
        "namespace": names.namespace(parent.metadata.namespace),
        "labels": labels | names.labels,
        "annotations": annotations | ours,
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _rewrite_field_refs(spec: Mapping[str, Any], target: Target) -> Set[str]:
    """Returns the fieldPaths as they were."""
    shown = set()
    for reference in field_references(spec):
        path = reference["fieldPath"]
        shown.add(path)
        reference["fieldPath"] = downward.member_path(path, target.names.prefix)
    return shown


def _add_api_address(spec: dict[str, Any], target: Target) -> None:
    """Programs find the API server by these variables, or by its name. What a user sets stays."""
    address = target.api_environment
    for container in containers(spec):
        env = container.get("env") or []
        present = {entry["name"] for entry in env}
        added = [{"name": name, "value": value} for name, value in address.items() if name not in present]
        if added:
            container["env"] = added + env
    if address and _is_ip(target.parent_host) and not spec.get("hostNetwork"):
        _add_api_names(spec, target.parent_host)


def _is_ip(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()  # no top-level domain is a number


def _add_api_names(spec: dict[str, Any], address: str) -> None:
    aliases = spec.get("hostAliases") or []
    taken = {name for entry in aliases for name in entry.get("hostnames") or ()}
    if names := [name for name in _API_NAMES if name not in taken]:
        same = [entry for entry in aliases if entry.get("ip") == address]  # at most one: the list is keyed by the IP
        known = [name for entry in same for name in entry.get("hostnames") or ()]
        spec["hostAliases"] = [e for e in aliases if e not in same] + [{"ip": address, "hostnames": known + names}]


def _name_copies(spec: Mapping[str, Any], target: Target) -> None:
    """ConfigMaps and Secrets are copies of the parent's, which have names of their own.

    Except the CA in a volume with a token of the member (apiAccess Member): that is the CA of the member.
    """
    of_member = target.api_access is ApiAccess.MEMBER
    for kind, holder, field, volume in named_objects(spec):
        name = holder[field]
        if of_member and kind == "ConfigMap" and name == ROOT_CA and volume and has_token(volume):
            continue
        holder[field] = target.names.copy(name)
