"""The objects that a pod refers to, and their copies in the member."""

from __future__ import annotations

import base64

import pytest

from tests.unit.pods import NAMES, Manifest, pod
from vk_provider.kube.objects import Metadata, Payload
from vk_provider.translate.dependents.copies import digest, member_payload, token_manifest
from vk_provider.translate.dependents.needs import Reference, TokenSource, needs

CONFIG, SECRET = Reference("ConfigMap", "x"), Reference("Secret", "x")


def with_env(**entry: object) -> Manifest:
    return {"containers": [{"name": "app", **entry}]}


def with_volume(**source: object) -> Manifest:
    return {"volumes": [{"name": "v", **source}]}


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        pytest.param(
            with_env(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}]), CONFIG
        ),
        pytest.param(with_env(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]), SECRET),
        pytest.param(with_env(envFrom=[{"configMapRef": {"name": "x", "optional": True}}]), CONFIG, id="envFrom"),
        pytest.param(with_env(envFrom=[{"secretRef": {"name": "x"}}]), SECRET, id="envFrom secret"),
        *(
            pytest.param({kind: with_env(envFrom=[{"secretRef": {"name": "x"}}])["containers"]}, SECRET, id=kind)
            for kind in ("initContainers", "ephemeralContainers")
        ),
        pytest.param({"imagePullSecrets": [{"name": "x"}]}, SECRET, id="imagePullSecrets"),
        pytest.param(with_volume(configMap={"name": "x"}), CONFIG, id="configMap"),
        pytest.param(with_volume(secret={"secretName": "x"}), SECRET, id="secret"),
        pytest.param(with_volume(projected={"sources": [{"configMap": {"name": "x"}}]}), CONFIG, id="projected"),
        pytest.param(with_volume(projected={"sources": [{"secret": {"name": "x"}}]}), SECRET, id="projected secret"),
        pytest.param(with_volume(azureFile={"secretName": "x"}), SECRET, id="azureFile"),
        pytest.param(with_volume(csi={"driver": "d", "nodePublishSecretRef": {"name": "x"}}), SECRET, id="csi"),
        *(
            pytest.param(with_volume(**{kind: {"secretRef": {"name": "x"}}}), SECRET, id=kind)
            for kind in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos")
        ),
    ],
)
def test_each_reference_of_a_pod_is_found(spec: Manifest, reference: Reference) -> None:
    assert needs(pod(spec)).references == {reference}


def test_a_plain_pod_refers_to_nothing() -> None:
    found = needs(pod(with_volume(emptyDir={}) | {"imagePullSecrets": [{}]}))
    assert (found.references, found.tokens) == (frozenset(), ())


def test_an_object_that_is_referred_to_twice_is_needed_once() -> None:
    both = with_env(envFrom=[{"configMapRef": {"name": "x"}}]) | with_volume(configMap={"name": "x"})
    assert needs(pod(both)).references == {CONFIG}


def test_every_token_has_its_audience_and_lifetime() -> None:
    tokens = [{"path": "a"}, {"path": "b", "audience": "vault", "expirationSeconds": 600}]
    sources = [{"configMap": {"name": "x"}}, *({"serviceAccountToken": token} for token in tokens)]
    found = needs(pod(with_volume(projected={"sources": sources}) | {"serviceAccountName": "web"}))
    assert found.tokens == (TokenSource("v.1", "", 3600), TokenSource("v.2", "vault", 600))
    assert found.service_account == "web"


def payload(**more: object) -> Payload:
    return Payload(metadata=Metadata(name="x", namespace="shop", uid="c-1"), data={"a": "1"}, **more)  # type: ignore[arg-type]


def test_a_copy_has_the_content_and_refers_to_its_original() -> None:
    copy = member_payload("ConfigMap", "copy", payload(binary_data={"b": "AA=="}, immutable=True), NAMES)
    assert (copy["data"], copy["binaryData"], copy["immutable"]) == ({"a": "1"}, {"b": "AA=="}, True)
    assert (copy["metadata"]["name"], copy["metadata"]["labels"]) == ("copy", NAMES.labels)
    assert copy["metadata"]["annotations"]["vk-provider.io/parent-uid"] == "c-1"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("kubernetes.io/tls", "kubernetes.io/tls"),
        ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockerconfigjson"),
        ("example.com/own", "example.com/own"),
        ("kubernetes.io/service-account-token", "Opaque"),
    ],
)
def test_a_secret_keeps_its_type_unless_the_member_would_delete_it(kind: str, wanted: str) -> None:
    assert member_payload("Secret", "copy", payload(type=kind), NAMES)["type"] == wanted


def test_tokens_are_in_a_secret_of_their_pod() -> None:
    secret = token_manifest(Metadata(name="web", namespace="shop", uid="p-1"), {"v.0": "abc"}, "later", "soon", NAMES)
    assert base64.b64decode(secret["data"]["v.0"]) == b"abc"
    assert secret["metadata"]["name"].startswith("web-tokens-")
    assert secret["metadata"]["annotations"]["vk-provider.io/token-renew"] == "soon"


def test_a_digest_depends_on_the_content_and_not_on_its_order() -> None:
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})
    assert len({digest({"a": "1"}), digest({"a": "2"}), digest({}, {"a": "1"}), digest({})}) == 4
