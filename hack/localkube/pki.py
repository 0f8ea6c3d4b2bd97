"""The certificates and kubeconfigs of one cluster, created at its first start."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import metrics
from .addresses import node_address
from .spec import Kind
from .state import ClusterDirectory, Record, write_atomically

_VALID = datetime.timedelta(days=365)
# The clock of a client may be behind.
_BACKDATED = datetime.timedelta(minutes=5)


class Authority:
    """A certificate authority. Its key stays in `directory`. Keys are ECDSA: generating RSA keys takes seconds."""

    def __init__(self, directory: Path, file: str, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        self._write(file, builder.sign(self._key, hashes.SHA256()), self._key)

    def issue(self, file: str, user: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> None:
        """Writes FILE.crt and FILE.key, valid for client and server authentication."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        builder = self._builder(subject, key.public_key()).add_extension(usages, critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        self._write(file, builder.sign(self._key, hashes.SHA256()), key)

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _VALID)
        )

    def _write(self, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        write_atomically(self._directory / f"{file}.crt", pem)
        write_atomically(self._directory / f"{file}.key", _private_pem(key), mode=0o600)


def create(record: Record, directory: ClusterDirectory, server: str) -> None:
    """Creates all credentials of one cluster's components. `server` is the URL of the API server."""
    pki = directory.pki
    pki.mkdir(parents=True, exist_ok=True)
    name = record.spec.name
    authority = Authority(pki, "ca", f"{name}-ca")
    service_address = str(ipaddress.IPv4Network(record.service_cidr)[1])
    service_names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    addresses = dict.fromkeys([record.address, "127.0.0.1", service_address])
    authority.issue("apiserver", "kube-apiserver", hosts=[*service_names, "localhost", *addresses])
    authority.issue("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
    authority.issue("admin", "kubernetes-admin", ["system:masters"])
    authority.issue("controller-manager", "system:kube-controller-manager")
    authority.issue("scheduler", "system:kube-scheduler")
    clients = ["controller-manager", "scheduler"]
    if record.spec.metrics:
        authority.issue("metrics-server", "metrics-server", ["system:masters"], hosts=[metrics.HOST])
        clients.append("metrics-server")
    if record.spec.kind is Kind.REAL:
        authority.issue("kube-proxy", "system:kube-proxy")
        clients.append("kube-proxy")
        for number in range(1, record.spec.nodes + 1):
            node = f"{name}-{number}"
            hosts = [node, node_address(record, number)]
            authority.issue(f"kubelet-{number}", f"system:node:{node}", ["system:nodes"], hosts)
            clients.append(f"kubelet-{number}")
    Authority(pki, "front-proxy-ca", f"{name}-front-proxy-ca").issue("front-proxy", "front-proxy-client")
    _service_account_key(pki)
    for client in clients:
        write_atomically(pki / f"{client}.kubeconfig", _kubeconfig(pki, client, name, server), mode=0o600)
    write_atomically(directory.kubeconfig, _kubeconfig(pki, "admin", name, server), mode=0o600)


def self_signed(directory: Path, file: str, host: str) -> None:
    """Writes FILE.crt and FILE.key for a test server inside an image."""
    Authority(directory, file, host)


def _kubeconfig(pki: Path, client: str, cluster: str, server: str) -> str:
    def encoded(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    user = f"{cluster}-{client}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": encoded("ca.crt")}}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": encoded(f"{client}.crt"),
                    "client-key-data": encoded(f"{client}.key"),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    return json.dumps(config, indent=1)


def _service_account_key(pki: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_atomically(pki / "service-account.pub", public)
    write_atomically(pki / "service-account.key", _private_pem(key), mode=0o600)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
