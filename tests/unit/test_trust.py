"""Trust anchors: what a question finds, and that equal answers are equal texts."""

from __future__ import annotations

from typing import Any

import pytest

from vk_provider.kube.objects import Metadata
from vk_provider.translate.dependents.trust_bundles import BundleSpec, TrustBundle, TrustQuery

ONE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
TWO = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n"


def bundle(name: str, text: str, signer: str = "", **labels: str) -> TrustBundle:
    return TrustBundle(Metadata(name=name, labels=labels), BundleSpec(signer, text))


BUNDLES = {
    one.metadata.name: one
    for one in (
        bundle("plain", TWO + "a word in between\n" + ONE),
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
    ("asked", "answer"),
    [
        ({"name": "plain"}, ONE + TWO),
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
def test_a_query_finds_each_anchor_once(asked: dict[str, Any], answer: str | None) -> None:
    assert TrustQuery.of({"path": "anchors.pem", **asked}).answer(BUNDLES) == answer


def test_the_path_is_no_part_of_the_question() -> None:
    assert TrustQuery.of({"path": "a", "name": "plain"}) == TrustQuery.of({"path": "b", "name": "plain"})
