"""ClusterTrustBundles of the parent, as a projected volume asks for them, and what is kept of them in the member.

Every question has its answer in one ConfigMap per namespace, whoever asks; the answer is what a kubelet would write.
(https://kubernetes.io/docs/concepts/storage/projected-volumes/#clustertrustbundle)
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata
from vk_provider.translate.names import Names
from vk_provider.translate.selectors import matches

TRUST_KEY: Final = "trust-anchors.pem"  # of the ConfigMap
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


class BundleSpec(msgspec.Struct, rename="camel", gc=False):
    """What it publishes, as PEM, and whose it is."""

    signer_name: str = ""
    trust_bundle: str = ""


class TrustBundle(msgspec.Struct, gc=False):
    """A ClusterTrustBundle."""

    metadata: Metadata
    spec: BundleSpec = msgspec.field(default_factory=BundleSpec)


@dataclass(frozen=True)
class TrustQuery:
    """What a `clusterTrustBundle` source asks for; `text` is one and the same for the same question."""

    text: str

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> TrustQuery:
        asked = {field: source[field] for field in ("name", "signerName", "labelSelector") if field in source}
        if source.get("optional"):
            asked["optional"] = True
        return cls(json.dumps(asked, sort_keys=True, separators=(",", ":")))

    def answer(self, bundles: Mapping[str, TrustBundle]) -> str | None:
        """The anchors as PEM, each once; None where there are none and the pod must have some.

        `bundles`: all of the parent, by name. A signer without a selector finds nothing, one with an empty selector all
        of its bundles.
        """
        asked: dict[str, Any] = json.loads(self.text)
        if "name" in asked:
            found = [bundles[asked["name"]]] if asked["name"] in bundles else []
        else:
            selector = asked.get("labelSelector")
            found = [
                bundle
                for bundle in bundles.values()
                if bundle.spec.signer_name == asked.get("signerName")
                and selector is not None
                and _selects(selector, bundle.metadata.labels)
            ]
        if not found:
            return "" if asked.get("optional") else None
        return _anchors(bundle.spec.trust_bundle for bundle in found)


def trust_manifest(query: TrustQuery, anchors: str, namespace: str, names: Names) -> dict[str, Any]:
    """The ConfigMap of the member that holds an answer, for pods of a namespace of the parent."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.trust_bundle(query.text),
            "namespace": names.namespace(namespace),
            "labels": names.labels,
            "annotations": {wellknown.PARENT_NAMESPACE: namespace, wellknown.TRUST_QUERY: query.text},
        },
        "data": {TRUST_KEY: anchors},
    }


def _anchors(bundles: Iterable[str]) -> str:
    """In an order that depends on nothing but the certificates, so that equal answers are equal texts."""
    certificates = set()
    for bundle in bundles:
        for block in _CERTIFICATE.findall(bundle):
            try:
                certificates.add(base64.b64decode("".join(block.split()), validate=True))
            except binascii.Error:
                continue  # the parent's API server lets no such thing in
    return "".join(_pem(certificate) for certificate in sorted(certificates))


def _pem(certificate: bytes) -> str:
    lines = wrap(base64.b64encode(certificate).decode(), 64)
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A label selector, as the API defines it."""
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        matches(labels.get(expression["key"]), expression) for expression in selector.get("matchExpressions") or ()
    )
