"""Valid and invalid client certificates for the kubelet API."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import aiohttp
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster import Cluster
from tests.integration.serving import Served
from tests.waiting import eventually
from vk_provider.kubelet.certs import CSRS


def stored(directory: Path, issued: trustme.LeafCert) -> tuple[str, str]:
    certificate, key = directory / "client.crt", directory / "client.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return str(certificate), str(key)


async def refused_in_the_handshake(served: Served, certificate: tuple[str, str]) -> bool:
    """Whether the server rejects a client certificate. With TLS 1.3, the client notices only when it reads."""
    try:
        async with served.session(served.tls(certificate)) as session, session.get("/healthz"):
            return False
    except (aiohttp.ClientError, ssl.SSLError, ConnectionError):
        return True


def serving_certificate(parent: Cluster, directory: Path) -> tuple[str, str]:
    """The serving certificate of another node's kubelet, signed by the parent."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
        x509.NameAttribute(NameOID.COMMON_NAME, "system:node:other"),
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    san = x509.SubjectAlternativeName([x509.DNSName("other")])
    request = builder.add_extension(san, critical=False).sign(key, hashes.SHA256())
    pem = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    usages = ["digital signature", "server auth"]
    spec = {"request": pem, "signerName": "kubernetes.io/kubelet-serving", "usages": usages}
    name = parent.create(CSRS, {"metadata": {"generateName": "other-"}, "spec": spec})["metadata"]["name"]
    condition = {"type": "Approved", "status": "True", "reason": "Test", "message": "test"}
    parent.patch(CSRS, name, {"status": {"conditions": [condition]}}, subresource="approval")
    certificate = eventually(
        lambda: parent.get(CSRS, name).get("status", {}).get("certificate", ""), "the certificate is signed"
    )
    files = directory / "serving.crt", directory / "serving.key"
    files[0].write_bytes(base64.b64decode(certificate))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return str(files[0]), str(files[1])
