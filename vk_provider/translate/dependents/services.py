"""Reflections of the parent's Services for the pods of one member: a Service without a selector, and EndpointSlices.

They have only the fields that matter to clients: name, ports, affinity, readiness. Fields that bring traffic in from
outside (types, node ports, load balancers, external addresses, labels and annotations for controllers) stay in the
parent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Object, fields
from vk_provider.translate.names import Names

SERVICE_NAME: Final = "kubernetes.io/service-name"  # label of an EndpointSlice: its Service
_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
_HEADLESS: Final = "service.kubernetes.io/headless"  # label of an EndpointSlice that kube-proxy can ignore

# Services that every cluster has itself: those of the parent mean nothing in a member.
OF_EACH_CLUSTER: Final = frozenset({"default/kubernetes", "kube-system/kube-dns"})

# Fields of a Service's spec that are the same in the member, and those of its ports.
_SAME: Final = ("ports", "sessionAffinity", "sessionAffinityConfig", "publishNotReadyAddresses")
_PORT: Final = ("name", "protocol", "port", "targetPort", "appProtocol")
# Fields that are restored if another client changes them in the member; unwanted ones are removed.
_HELD: Final = (
    *_SAME,
    "type",
    "externalName",
    "externalIPs",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    "ipFamilies",
)


class Conditions(msgspec.Struct, gc=False, omit_defaults=True, frozen=True):
    """Conditions of an endpoint. None: not set."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(msgspec.Struct, gc=False, omit_defaults=True, frozen=True):
    """The object that an endpoint stands for."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class Endpoint(msgspec.Struct, rename="camel", gc=False, omit_defaults=True, frozen=True):
    """One backend. Zones and hints are not decoded: they refer to the parent's nodes."""

    addresses: list[str]
    conditions: Conditions = Conditions()
    hostname: str | None = None
    node_name: str | None = None
    target_ref: TargetRef | None = None


class Port(msgspec.Struct, rename="camel", gc=False, omit_defaults=True, frozen=True):
    """A port of all endpoints of a slice. Without a number: all ports."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(msgspec.Struct, rename="camel", gc=False):
    """An EndpointSlice as an API server sends it."""

    metadata: Metadata
    address_type: str = ""
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None


class ParentSlice(msgspec.Struct, gc=False):
    """The cached part of an EndpointSlice of the parent: its endpoints by node ("" for those without a node)."""

    metadata: Metadata
    address_type: str
    ports: list[Port]
    endpoints: dict[str, list[Endpoint]]

    @property
    def service(self) -> str:
        """`namespace/name` of the Service; "" for a slice without one."""
        name = self.metadata.labels.get(SERVICE_NAME, "")
        return f"{self.metadata.namespace}/{name}" if name else ""


class SliceCopy(msgspec.Struct, gc=False):
    """The cached part of an EndpointSlice of ours in the member: its metadata, and a digest of its contents."""

    metadata: Metadata
    digest: str


def parent_service(service: Object) -> Object:
    """Reduces a Service of the parent to what its reflection needs."""
    return Object(_lean(service.metadata), service.spec)


def parent_slice(found: EndpointSlice) -> ParentSlice:
    """Reduces an EndpointSlice of the parent, and groups its endpoints by node."""
    by_node: dict[str, list[Endpoint]] = {}
    for endpoint in found.endpoints or ():
        by_node.setdefault(endpoint.node_name or "", []).append(endpoint)
    metadata = _lean(found.metadata)
    if SERVICE_NAME in found.metadata.labels:
        metadata.labels = {SERVICE_NAME: found.metadata.labels[SERVICE_NAME]}
    return ParentSlice(metadata, found.address_type, found.ports or [], by_node)


def slice_copy(found: EndpointSlice) -> SliceCopy:
    """Reduces an EndpointSlice of the member: contents are only compared."""
    return SliceCopy(found.metadata, _digest(found.address_type, found.endpoints or [], found.ports or []))


def _lean(metadata: Metadata) -> Metadata:
    return Metadata(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
    )


def member_service(service: Object, names: Names) -> dict[str, Any]:
    """The manifest of a Service's reflection.

    It requests the same cluster IP as in the parent, because users see it and pass it on. `allocated` is for members
    that do not have that address.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(service.metadata, names, names.labels),
        "spec": _spec(fields(service.spec)),
    }


def allocated(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The same reflection with an address that the member chooses; None if it has no address."""
    if not manifest["spec"].get("clusterIP") or _headless(manifest["spec"]):
        return None
    return {**manifest, "spec": {field: value for field, value in manifest["spec"].items() if field != "clusterIP"}}


def _metadata(parent: Metadata, names: Names, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "name": parent.name,
        "namespace": names.namespace(parent.namespace),
        "labels": labels,
        "annotations": names.annotations(parent),
    }


def _spec(parent: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {field: parent[field] for field in _SAME if field in parent}
    if "ports" in spec:
        spec["ports"] = _ports(spec["ports"])
    if parent.get("type") == "ExternalName":
        return spec | {"type": "ExternalName", "externalName": parent.get("externalName", "")}
    # "Local" means the same node, which is the whole member. The slices ensure that, not the member's nodes.
    spec |= {"type": "ClusterIP", "internalTrafficPolicy": "Cluster"}
    if parent.get("clusterIP"):
        spec["clusterIP"] = parent["clusterIP"]
    if parent.get("ipFamilyPolicy", "SingleStack") != "SingleStack":
        spec["ipFamilyPolicy"] = "PreferDualStack"  # both families if the member has both, in its order
    elif "ipFamilies" in parent:
        spec |= {"ipFamilyPolicy": "SingleStack", "ipFamilies": parent["ipFamilies"]}
    return spec


def _ports(ports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{field: port[field] for field in _PORT if field in port} for port in ports]


def _headless(spec: dict[str, Any]) -> bool:
    return spec.get("clusterIP") == "None"


def service_patch(wanted: dict[str, Any], actual: Object) -> dict[str, Any] | None:
    """The merge patch, with the UID, that makes a Service of the member the wanted one; None if it is."""
    spec, asked = fields(actual.spec), wanted["spec"]
    spec["ports"] = _ports(spec.get("ports") or []) or None
    changed = {
        field: asked.get(field)
        for field in _HELD
        if asked.get(field) != spec.get(field) and (field != "ipFamilies" or field in asked)
    }
    if "clusterIP" in asked and not spec.get("clusterIP"):  # it was an ExternalName
        changed["clusterIP"] = asked["clusterIP"]
    patch: dict[str, Any] = {"spec": changed} if changed else {}
    return _with_metadata(patch, wanted["metadata"], actual.metadata)


def must_replace(wanted: dict[str, Any], actual: Object) -> bool:
    """Whether the Service of the member has to be replaced, because a patch is not enough.

    A Service cannot become headless or stop being so: servers ignore such a change. If another client has given it a
    selector, the member's controller has created EndpointSlices, which are only deleted together with the Service.
    Another Service of the parent has another address. An address that the member has chosen is no reason.
    """
    spec, asked = fields(actual.spec), wanted["spec"]
    parent = wanted["metadata"]["annotations"][wellknown.PARENT_UID]
    moved = parent != actual.metadata.annotations.get(wellknown.PARENT_UID) and bool(asked.get("clusterIP"))
    return (
        "selector" in spec
        or _headless(asked) != _headless(spec)
        or (moved and asked["clusterIP"] != spec.get("clusterIP"))
    )


def member_slice(
    found: ParentSlice, service: Object, names: Names, nodes: Collection[str], *, flat: bool
) -> dict[str, Any] | None:
    """The manifest of an EndpointSlice's reflection; None if it would list nothing.

    It lists the endpoints on `nodes`, the virtual nodes of this member, and those on no node, which are no pods. With
    `flat` also all others, unless the Service keeps traffic on the client's node, which means the member here.
    """
    spec = fields(service.spec)
    if spec.get("type") == "ExternalName":
        return None
    everywhere = flat and spec.get("internalTrafficPolicy") != "Local"
    listed = found.endpoints if everywhere else {*nodes, ""}
    endpoints = [
        _endpoint(endpoint, names, nodes) for node in sorted(listed) for endpoint in found.endpoints.get(node, ())
    ]
    if not endpoints:
        return None
    labels = names.labels | {SERVICE_NAME: service.metadata.name, _MANAGED_BY: wellknown.DOMAIN}
    if _headless(spec):
        labels[_HEADLESS] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _metadata(found.metadata, names, labels),
        "addressType": found.address_type,
        "endpoints": endpoints,
        "ports": found.ports,
    }


def _endpoint(endpoint: Endpoint, names: Names, nodes: Collection[str]) -> Endpoint:
    """Only a pod of this member has a target: pods of other members do not exist here, only their addresses do."""
    target = None
    if endpoint.node_name in nodes and endpoint.target_ref and endpoint.target_ref.kind == "Pod":
        namespace = names.namespace(endpoint.target_ref.namespace)
        target = TargetRef("Pod", endpoint.target_ref.name, namespace)
    return Endpoint(endpoint.addresses, endpoint.conditions, endpoint.hostname, None, target)


def concerns(before: ParentSlice | None, after: ParentSlice | None, nodes: Collection[str], *, flat: bool) -> bool:
    """Whether this change may alter the reflection in the member with these virtual nodes; most changes do not."""
    if before is None or after is None or flat:
        return True
    return (
        before.metadata.uid != after.metadata.uid
        or before.ports != after.ports
        or any(before.endpoints.get(name) != after.endpoints.get(name) for name in (*nodes, ""))
    )


def slice_patch(wanted: dict[str, Any], actual: SliceCopy) -> dict[str, Any] | None:
    """The merge patch, with the UID, that makes an EndpointSlice of the member the wanted one; None if it is."""
    patch: dict[str, Any] = {}
    if actual.digest != _digest(wanted["addressType"], wanted["endpoints"], wanted["ports"]):
        patch = {field: wanted[field] for field in ("addressType", "endpoints", "ports")}
    return _with_metadata(patch, wanted["metadata"], actual.metadata)


def _with_metadata(patch: dict[str, Any], wanted: dict[str, Any], actual: Metadata) -> dict[str, Any] | None:
    metadata: dict[str, Any] = {}
    for field, have in (("labels", actual.labels), ("annotations", actual.annotations)):
        if changed := {key: value for key, value in wanted[field].items() if have.get(key) != value}:
            metadata[field] = changed
    if not patch and not metadata:
        return None
    return {**patch, "metadata": metadata | {"uid": actual.uid}}


def _digest(address_type: str, endpoints: list[Endpoint], ports: list[Port]) -> str:
    return hashlib.sha256(msgspec.json.encode((address_type, endpoints, ports))).hexdigest()
