"""Sources of projected volumes that only the parent can fill, as sources that exist in the member.

Tokens and certificates are those of the parent pod, and trust bundles are objects of the parent. The member pod mounts
them from Secrets and ConfigMaps of ours (see `dependents`), at the same paths.
(https://kubernetes.io/docs/concepts/storage/projected-volumes/)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vk_provider.api.membercluster import ApiAccess
from vk_provider.kube.objects import Metadata
from vk_provider.translate.names import TRUST_ANCHORS_KEY, CredentialPart, Names, credential_key, source_key
from vk_provider.translate.references import bundle_query, containers, projected_sources, sources

_SERVICE_ACCOUNT_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_DEFAULT_MODE: Final = 0o644  # of files in a volume without a defaultMode
_OTHERS_READ: Final = 0o004
_READ_ONLY: Final = 0o444
# Field of a podCertificate source -> the part of the credential that the file at that path holds.
_CREDENTIAL_PARTS: Final[Mapping[str, CredentialPart]] = {
    "credentialBundlePath": "bundle",
    "keyPath": "key",
    "certificateChainPath": "chain",
}


def replace_sources(spec: dict[str, Any], parent: Metadata, names: Names, access: ApiAccess) -> None:
    """Changes the projected volumes of a parent pod's spec into those of its member pod."""
    tokens = names.token_secret(parent.name, parent.uid)
    certificates = names.certificate_secret(parent.name, parent.uid)
    for volume, index, source in projected_sources(spec):
        key = source_key(volume["name"], index)
        if access is ApiAccess.PARENT and (token := source.pop("serviceAccountToken", None)):
            item = {"key": key, "path": token["path"]} | _token_mode(spec, volume)
            source["secret"] = {"name": tokens, "items": [item]}
        if bundle := source.pop("clusterTrustBundle", None):
            items = [{"key": TRUST_ANCHORS_KEY, "path": bundle["path"]}]
            source["configMap"] = {"name": names.trust_bundle(bundle_query(bundle)), "items": items}
        if certificate := source.pop("podCertificate", None):
            items = [
                {"key": credential_key(key, part), "path": certificate[field]}
                for field, part in _CREDENTIAL_PARTS.items()
                if certificate.get(field)
            ]
            source["secret"] = {"name": certificates, "items": items}
    if access is ApiAccess.NONE:
        _drop_tokens(spec)


def has_token(volume: dict[str, Any]) -> bool:
    """Whether a volume asks for a service account token."""
    return any("serviceAccountToken" in source for source in sources(volume))


def _token_mode(spec: Mapping[str, Any], volume: Mapping[str, Any]) -> dict[str, Any]:
    """The mode of the file with a token, if the volume's own does not let the containers read it.

    If all containers run as one user, a kubelet gives that user the files of tokens, whatever their mode. Files of a
    Secret belong to root.
    (https://kubernetes.io/docs/concepts/storage/projected-volumes/#securitycontext-interactions)
    """
    if volume["projected"].get("defaultMode", _DEFAULT_MODE) & _OTHERS_READ:
        return {}
    context = spec.get("securityContext") or {}
    users = {(context | (container.get("securityContext") or {})).get("runAsUser") for container in containers(spec)}
    one_user = len(users) == 1 and None not in users and "fsGroup" not in context
    return {"mode": _READ_ONLY} if one_user else {}


def _drop_tokens(spec: dict[str, Any]) -> None:
    """Drops all tokens, and with them the whole volume that the ServiceAccount admission has added."""
    mounted = {
        mount["name"]
        for container in containers(spec)
        for mount in container.get("volumeMounts") or ()
        if mount.get("mountPath") == _SERVICE_ACCOUNT_DIR
    }
    dropped = {volume["name"] for volume in spec["volumes"] if volume["name"] in mounted and has_token(volume)}
    if dropped:
        spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in dropped]
        for container in containers(spec):
            if mounts := container.get("volumeMounts"):
                container["volumeMounts"] = [mount for mount in mounts if mount["name"] not in dropped]
    for volume in spec["volumes"]:
        if has_token(volume):
            kept = [source for source in sources(volume) if "serviceAccountToken" not in source]
            volume["projected"]["sources"] = kept
