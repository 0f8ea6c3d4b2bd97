"""Trust bundles: the anchors that a query finds, in an order that does not depend on the input."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from vk_provider.kube.objects import Metadata
from vk_provider.translate.dependents.trust_bundles import BundleQuery, BundleSpec, TrustBundle


def certificate(name: str) -> str:
    """A self-signed certificate as PEM, the same in every run."""
    key = Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32))
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    year = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, *year)
    return builder.sign(key, None).public_bytes(Encoding.PEM).decode()


ONE, TWO = sorted(map(certificate, ("one", "two")))
BROKEN = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


def bundle(name: str, text: str, signer: str = "", **labels: str) -> TrustBundle:
    return TrustBundle(Metadata(name=name, labels=labels), BundleSpec(signer, text))


BUNDLES = {
    one.metadata.name: one
    for one in (
        bundle("plain", TWO + "text between blocks\n" + ONE),
        bundle("broken", TWO + BROKEN.format("AAAA") + BROKEN.format("???") + ONE),
        bundle("empty", "no certificate"),
        bundle("s:alive", ONE, "example.com/s", state="alive"),
        bundle("s:dead", TWO, "example.com/s", state="dead"),
        bundle("s:again", ONE, "example.com/s", state="alive", tier="1"),
        bundle("t:alive", TWO, "example.com/t", state="alive"),
    )
}


def selector(**labels: str) -> dict[str, Any]:
    return {"matchLabels": labels}


def expression(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "tier", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"name": "plain"}, ONE + TWO),
        ({"name": "broken"}, ONE + TWO),
        ({"name": "empty"}, ""),
        ({"name": "absent"}, None),
        ({"name": "absent", "optional": True}, ""),
        ({"signerName": "example.com/s", "labelSelector": selector(state="alive")}, ONE),
        ({"signerName": "example.com/s", "labelSelector": {}}, ONE + TWO),
        ({"signerName": "example.com/s"}, None),
        ({"signerName": "example.com/s", "labelSelector": selector(state="lost"), "optional": True}, ""),
        ({"signerName": "example.com/s", "labelSelector": expression("Exists")}, ONE),
        ({"signerName": "example.com/s", "labelSelector": expression("In", "1", "2")}, ONE),
        ({"signerName": "example.com/s", "labelSelector": expression("DoesNotExist")}, ONE + TWO),
        ({"signerName": "example.com/s", "labelSelector": expression("NotIn", "2")}, ONE + TWO),
    ],
)
def test_a_query_finds_each_anchor_once(query: dict[str, Any], answer: str | None) -> None:
    assert BundleQuery.of({"path": "anchors.pem", **query}).answer(BUNDLES) == answer


def test_a_query_does_not_depend_on_the_path() -> None:
    assert BundleQuery.of({"path": "a", "name": "plain"}) == BundleQuery.of({"path": "b", "name": "plain"})
