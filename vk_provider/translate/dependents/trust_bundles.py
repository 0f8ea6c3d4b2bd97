"""ClusterTrustBundles of the parent: what a projected volume asks for, and the ConfigMap that holds the answer.

Each query has one ConfigMap per namespace, shared by all pods with that query. It holds what a kubelet would write.
(https://kubernetes.io/docs/concepts/storage/projected-volumes/#clustertrustbundle)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata
from vk_provider.translate.dependents.pem import certificates
from vk_provider.translate.names import TRUST_ANCHORS_KEY, Names
from vk_provider.translate.references import bundle_query
from vk_provider.translate.selectors import selects


class BundleSpec(msgspec.Struct, rename="camel", gc=False):
    """The published trust anchors, as PEM, and their signer."""

    signer_name: str = ""
    trust_bundle: str = ""


class TrustBundle(msgspec.Struct, gc=False):
    """A ClusterTrustBundle."""

    metadata: Metadata
    spec: BundleSpec = msgspec.field(default_factory=BundleSpec)


@dataclass(frozen=True)
class BundleQuery:
    """What a `clusterTrustBundle` source asks for. Equal questions have the same `text`."""

    text: str

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> BundleQuery:
        return cls(bundle_query(source))

    def answer(self, bundles: Mapping[str, TrustBundle]) -> str | None:
        """The trust anchors as PEM, each once; None if there are none and the pod requires some.

        `bundles`: all bundles of the parent, by name. A signer without a selector finds nothing, one with an empty
        selector finds all of its bundles.
        """
        query: dict[str, Any] = json.loads(self.text)
        if "name" in query:
            found = [bundles[query["name"]]] if query["name"] in bundles else []
        else:
            selector = query.get("labelSelector")
            found = [
                bundle
                for bundle in bundles.values()
                if bundle.spec.signer_name == query.get("signerName")
                and selector is not None
                and selects(selector, bundle.metadata.labels)
            ]
        if not found:
            return "" if query.get("optional") else None
        # Sorted, so that equal answers are equal texts.
        return "".join(sorted({anchor for bundle in found for anchor in certificates(bundle.spec.trust_bundle)}))


def trust_manifest(query: BundleQuery, anchors: str, namespace: str, names: Names) -> dict[str, Any]:
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
        "data": {TRUST_ANCHORS_KEY: anchors},
    }
