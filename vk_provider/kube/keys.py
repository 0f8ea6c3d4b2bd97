"""Private keys: generated here, written as PEM, and given to the ssl module.

The ssl module reads keys from files only. Where the system can (Linux), such a file is in memory and has no name; else
it is in the temporary directory, has mode 0600, and exists only while the module reads it.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

# The key types of pod certificates (k8s.io/api/certificates/v1: PodCertificateProjection.keyType).
_GENERATORS: Final[dict[str, Callable[[], PrivateKey]]] = {
    "RSA3072": lambda: rsa.generate_private_key(65537, 3072),
    "RSA4096": lambda: rsa.generate_private_key(65537, 4096),
    "ECDSAP256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSAP384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECDSAP521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ED25519": ed25519.Ed25519PrivateKey.generate,
}


def generate(key_type: str = "ECDSAP256") -> PrivateKey:
    """A new key. Generating an RSA key may last several seconds."""
    return _GENERATORS[key_type]()


def pem(key: PrivateKey) -> bytes:
    """The key as PEM: PKCS #8, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def sign(request: x509.CertificateSigningRequestBuilder, key: PrivateKey) -> x509.CertificateSigningRequest:
    """The certificate request, signed with the key that it is for."""
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return request.sign(key, digest)


def load_cert_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Makes the pair, PEM, that of the context. Raises ssl.SSLError if they are not a pair, or the key is encrypted."""
    with as_file(certificate + b"\n" + key) as path:
        context.load_cert_chain(path, password="")  # without one, OpenSSL would ask for it on the terminal


@contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """The path of a file with that content, within the block."""
    if os.access("/proc/self/fd", os.X_OK):
        with open(os.memfd_create("pem"), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # mode 0600
            file.write(content)
            file.flush()
            yield file.name
