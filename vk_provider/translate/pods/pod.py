"""A parent pod as a pod of the member, and what may change on it later.

Works on plain dicts decoded from the parent's bytes: every field that no rule here names passes through untouched,
those that this code has never heard of included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import ApiAccess
from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.dependents.certificates import mounted, source_name
from vk_provider.translate.dependents.needs import CONTAINER_LISTS, token_key
from vk_provider.translate.dependents.trust_bundles import TRUST_KEY, TrustQuery
from vk_provider.translate.extended import drop_unknown
from vk_provider.translate.names import ROOT_CA, Names
from vk_provider.translate.pods import applied, downward
from vk_provider.translate.pods.constraints import soften

# Field of the parent's spec -> why it means nothing in the member.
DROPPED: Final = {
    "nodeName": "names the virtual node; the member's scheduler picks the real one",
    "nodeSelector": "speaks of nodes of the parent, and has been honoured there",
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
_SERVICE_ACCOUNT_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_FILE_MODE: Final = 0o644  # of files in a volume that says nothing else
_OTHERS_READ: Final = 0o004
_READ_ONLY: Final = 0o444
_OWN: Final = f"{wellknown.DOMAIN}/"


@dataclass(frozen=True)
class Owner:
    """The namespace of the member that controls the member pod.

    A pod without a controller is adopted by any ReplicaSet, StatefulSet or Job of the member whose selector fits its
    labels, as where the same application runs in both clusters; and then deleted, as one too many.
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

    @property
    def field_refs(self) -> dict[str, str]:
        """fieldPath in the parent -> fieldPath that gives the same value in the member."""
        paths = {
            "metadata.uid": f"metadata.annotations['{wellknown.PARENT_UID}']",
            "spec.nodeName": f"metadata.labels['{wellknown.NODE_LABEL}']",
            "spec.serviceAccountName": f"metadata.annotations['{wellknown.PARENT_SERVICE_ACCOUNT}']",
            "metadata.labels": f"metadata.annotations['{wellknown.PARENT_LABELS}']",
            "metadata.annotations": f"metadata.annotations['{wellknown.PARENT_ANNOTATIONS}']",
        }
        paths |= {
            f"metadata.labels['{label}']": f"metadata.annotations['{annotation}']"
            for label, annotation in wellknown.PARENT_TOPOLOGY.items()
        }
        if self.names.prefix:
            paths["metadata.namespace"] = f"metadata.annotations['{wellknown.PARENT_NAMESPACE}']"
        return paths


def member_pod(
    parent: Pod,
    target: Target,
    *,
    restarts: Mapping[str, int] | None = None,
    owner: Owner | None = None,
    known: Set[str] | None = None,
) -> dict[str, Any]:
    """The manifest to create in the member. `restarts`: container name -> restarts of earlier member pods.

    `known` are the resources that the member has or had; None: nobody can tell, and every request stays.
    """
    spec = fields(parent.spec)
    metadata = _metadata(parent, target.names, spec)
    if restarts:
        metadata["annotations"][wellknown.RESTARTS] = _compact(dict(restarts))
    if owner:
        metadata["ownerReferences"] = [owner.reference]
    spec = member_spec(spec, parent, target)
    if known is not None:
        drop_unknown(spec, known)
    metadata["annotations"][wellknown.APPLIED] = applied.encode(applied.record(spec))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def member_spec(spec: dict[str, Any], parent: Pod, target: Target) -> dict[str, Any]:
    """Changes `spec`, a parent pod's, into a member pod's."""
    for field in DROPPED:
        spec.pop(field, None)
    soften(spec, target.names)
    spec["automountServiceAccountToken"] = False
    _rewrite_field_refs(spec, target.field_refs)
    if target.api_access is ApiAccess.PARENT:
        _parent_api(spec, parent, target)
    elif target.api_access is ApiAccess.NONE:
        _no_api(spec)
    _map_root_ca(spec, target)
    _trust_bundles(spec, target.names)
    _certificates(spec, parent, target.names)
    return spec


def _metadata(parent: Pod, names: Names, spec: Mapping[str, Any]) -> dict[str, Any]:
    labels = {key: value for key, value in parent.metadata.labels.items() if not key.startswith(_OWN)}
    annotations = {key: value for key, value in parent.metadata.annotations.items() if not key.startswith(_OWN)}
    ours = names.annotations(parent.metadata) | {
        wellknown.PARENT_SERVICE_ACCOUNT: spec.get("serviceAccountName", "default"),
        wellknown.METADATA_KEYS: _compact([sorted(labels), sorted(annotations)]),
    }
    shown = {reference["fieldPath"] for reference in _field_refs(spec)}
    if "metadata.labels" in shown:
        ours[wellknown.PARENT_LABELS] = downward.text(parent.metadata.labels)
    if "metadata.annotations" in shown:
        ours[wellknown.PARENT_ANNOTATIONS] = downward.text(parent.metadata.annotations)
    for label, annotation in wellknown.PARENT_TOPOLOGY.items():
        if f"metadata.labels['{label}']" in shown and label in parent.metadata.labels:
            ours[annotation] = parent.metadata.labels[label]
    return {
        "name": parent.metadata.name,
        "namespace": names.namespace(parent.metadata.namespace),
        "labels": labels | names.labels,
        "annotations": annotations | ours,
    }


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def containers(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All containers of a spec, of every kind."""
    for kind in CONTAINER_LISTS:
        yield from spec.get(kind) or ()


def _rewrite_field_refs(spec: dict[str, Any], paths: Mapping[str, str]) -> None:
    for reference in _field_refs(spec):
        reference["fieldPath"] = paths.get(reference["fieldPath"], reference["fieldPath"])


def _field_refs(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the downward API puts into environments and files."""
    for container in containers(spec):
        for entry in container.get("env") or ():
            if reference := (entry.get("valueFrom") or {}).get("fieldRef"):
                yield reference
    for volume in spec.get("volumes") or ():
        for source in (volume, *(volume.get("projected", {}).get("sources") or ())):
            for item in source.get("downwardAPI", {}).get("items") or ():
                if reference := item.get("fieldRef"):
                    yield reference


def _parent_api(spec: dict[str, Any], parent: Pod, target: Target) -> None:
    secret = target.names.token_secret(parent.metadata.name, parent.metadata.uid)
    for volume in spec.get("volumes") or ():
        for index, source in enumerate(volume.get("projected", {}).get("sources") or ()):
            if token := source.pop("serviceAccountToken", None):
                item = {"key": token_key(volume["name"], index), "path": token["path"]}
                if _is_for_one_user(spec) and not volume["projected"].get("defaultMode", _FILE_MODE) & _OTHERS_READ:
                    item["mode"] = _READ_ONLY
                source["secret"] = {"name": secret, "items": [item]}
    address = {"KUBERNETES_SERVICE_HOST": target.parent_host, "KUBERNETES_SERVICE_PORT": target.parent_port}
    for container in containers(spec):
        env = container.get("env") or []
        named = {entry["name"] for entry in env}
        added = [{"name": name, "value": value} for name, value in address.items() if name not in named and value]
        if added:
            container["env"] = added + env


def _is_for_one_user(spec: Mapping[str, Any]) -> bool:
    """Whether all containers run as one user. A kubelet gives it the files of tokens, whatever their mode; those of a
    Secret are root's.
    (https://kubernetes.io/docs/concepts/storage/projected-volumes/#securitycontext-interactions)
    """
    of_pod = spec.get("securityContext") or {}
    users = {(of_pod | (container.get("securityContext") or {})).get("runAsUser") for container in containers(spec)}
    return len(users) == 1 and None not in users and "fsGroup" not in of_pod


def _no_api(spec: dict[str, Any]) -> None:
    mounted = {
        mount["name"]
        for container in containers(spec)
        for mount in container.get("volumeMounts") or ()
        if mount.get("mountPath") == _SERVICE_ACCOUNT_DIR
    }
    gone = {
        volume["name"]
        for volume in spec.get("volumes") or ()
        if volume["name"] in mounted
        and any("serviceAccountToken" in s for s in volume.get("projected", {}).get("sources") or ())
    }
    if gone:
        spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in gone]
        for container in containers(spec):
            if mounts := container.get("volumeMounts"):
                container["volumeMounts"] = [mount for mount in mounts if mount["name"] not in gone]
    for volume in spec.get("volumes") or ():
        if sources := volume.get("projected", {}).get("sources"):
            volume["projected"]["sources"] = [s for s in sources if "serviceAccountToken" not in s]


def _trust_bundles(spec: dict[str, Any], names: Names) -> None:
    """ClusterTrustBundles are objects of the parent: the member gets what they hold, whatever it has of its own."""
    for volume in spec.get("volumes") or ():
        for source in volume.get("projected", {}).get("sources") or ():
            if bundle := source.pop("clusterTrustBundle", None):
                items = [{"key": TRUST_KEY, "path": bundle["path"]}]
                source["configMap"] = {"name": names.trust_bundle(TrustQuery.of(bundle).text), "items": items}


def _certificates(spec: dict[str, Any], parent: Pod, names: Names) -> None:
    """Certificates are signed in the parent, in the name of the parent pod."""
    secret = names.certificate_secret(parent.metadata.name, parent.metadata.uid)
    for volume in spec.get("volumes") or ():
        for index, source in enumerate(volume.get("projected", {}).get("sources") or ()):
            if certificate := source.pop("podCertificate", None):
                source["secret"] = mounted(certificate, source_name(volume["name"], index), secret)


def _map_root_ca(spec: dict[str, Any], target: Target) -> None:
    """The member has a kube-root-ca.crt of its own in every namespace: references mean the parent's."""
    mapped = target.names.config_map(ROOT_CA)
    for container in containers(spec):
        for source in container.get("envFrom") or ():
            _rename(source.get("configMapRef"), mapped)
        for entry in container.get("env") or ():
            _rename((entry.get("valueFrom") or {}).get("configMapKeyRef"), mapped)
    for volume in spec.get("volumes") or ():
        _rename(volume.get("configMap"), mapped)
        sources = volume.get("projected", {}).get("sources") or ()
        if any("serviceAccountToken" in source for source in sources):
            continue  # a token of the member's own (apiAccess Member) goes with the CA of the member
        for source in sources:
            _rename(source.get("configMap"), mapped)


def _rename(reference: dict[str, Any] | None, mapped: str) -> None:
    if reference and reference.get("name") == ROOT_CA:
        reference["name"] = mapped
