"""Pod certificates: the test signs them in the parent, and the member has them while the pod exists."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.cluster import STRATEGIC, Cluster, Json
from tests.waiting import eventually
from tests.workloads import bare, wait_until_gone, wait_until_running
from vk_provider.api import wellknown
from vk_provider.kube.resources import EVENTS, NODES, POD_CERTIFICATE_REQUESTS, PODS, SECRETS

pytestmark = pytest.mark.usefixtures("provider")


@pytest.fixture
def asking(parent: Cluster, namespace: str) -> Json:
    """A pod that requests one certificate."""
    source = {
        "signerName": "example.com/test",
        "keyType": "ECDSAP256",
        "credentialBundlePath": "all.pem",
        "userAnnotations": {"example.com/role": "front"},
    }
    volumes = [{"name": "identity", "projected": {"sources": [{"podCertificate": source}]}}]
    return parent.create(PODS, bare("web", volumes=volumes), namespace)


def test_a_certificate_is_requested_for_the_parent_pod_and_deleted_with_it(
    parent: Cluster, alpha: Cluster, namespace: str, asking: Json
) -> None:
    request = only_request(parent, namespace)
    node = parent.get(NODES, "alpha")["metadata"]["uid"]
    spec = request["spec"]
    assert (spec["podName"], spec["podUID"]) == ("web", asking["metadata"]["uid"])
    assert (spec["serviceAccountName"], spec["nodeName"], spec["nodeUID"]) == ("default", "alpha", node)
    assert spec["unverifiedUserAnnotations"] == {"example.com/role": "front"}
    chain = sign(parent, request)
    (secret,) = eventually(lambda: secrets(alpha, namespace), "the credential is in the member")
    bundle = base64.b64decode(secret["data"]["identity.0.bundle"])
    assert bundle.decode().endswith(chain)
    key = load_pem_private_key(bundle, password=None)
    assert key.public_key() == x509.load_pem_x509_certificate(chain.encode()).public_key()
    wait_until_running(parent, "web", namespace)
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    eventually(lambda: not secrets(alpha, namespace), "it is deleted with the pod")


def test_a_denied_certificate_is_reported_on_the_pod(parent: Cluster, namespace: str, asking: Json) -> None:
    request = only_request(parent, namespace)
    decide(parent, request, "Denied", "NotYou", "not for this pod")
    eventually(
        lambda: (
            [
                event["message"]
                for event in parent.list(EVENTS, namespace, fields=f"involvedObject.uid={asking['metadata']['uid']}")
                if event["reason"] == "PodCertificateDenied"
            ]
            == [f"PodCertificateRequest {request['metadata']['name']}: NotYou: not for this pod"]
        ),
        "an Event has the message of the signer",
    )
    assert len(parent.list(POD_CERTIFICATE_REQUESTS, namespace)) == 1, "a denial is final"


def only_request(parent: Cluster, namespace: str) -> Json:
    (request,) = eventually(lambda: parent.list(POD_CERTIFICATE_REQUESTS, namespace), "a certificate is requested")
    return request


def secrets(member: Cluster, namespace: str) -> list[Json]:
    found = member.list(SECRETS, namespace, labels=f"{wellknown.NODE_LABEL}=alpha")
    return [secret for secret in found if wellknown.CERTIFICATES_RENEW in secret["metadata"]["annotations"]]


def sign(parent: Cluster, request: Json) -> str:
    """Issues the requested certificate. Returns the chain."""
    stub = x509.load_der_x509_csr(base64.b64decode(request["spec"]["stubPKCS10Request"]))
    begin = datetime.now(UTC).replace(microsecond=0)
    end = begin + timedelta(hours=24)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")]))
        .public_key(stub.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    chain = certificate.public_bytes(Encoding.PEM).decode()
    times = {"notBefore": begin, "beginRefreshAt": begin + timedelta(hours=18), "notAfter": end}
    decide(
        parent,
        request,
        "Issued",
        "Test",
        "",
        certificateChain=chain,
        **{name: at.strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in times.items()},
    )
    return chain


def decide(parent: Cluster, request: Json, verdict: str, reason: str, message: str, **status: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": verdict,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }
    metadata = request["metadata"]
    body = {"status": {"conditions": [condition], **status}}
    parent.patch(
        POD_CERTIFICATE_REQUESTS,
        metadata["name"],
        body,
        metadata["namespace"],
        subresource="status",
        content_type=STRATEGIC,
    )
