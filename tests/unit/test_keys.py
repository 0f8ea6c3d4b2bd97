"""Private keys: generation, PEM, and loading into an SSL context."""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from vk_provider.kube import keys


@pytest.mark.parametrize("key_type", ["RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"])
def test_a_key_of_every_type_can_be_written_and_signs_its_request(key_type: str) -> None:
    key = keys.generate(key_type)
    read = serialization.load_pem_private_key(keys.pem(key), password=None)
    assert isinstance(read, type(key))
    request = keys.sign(x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])), key)
    assert request.is_signature_valid
    assert request.public_key() == read.public_key()


def test_loading_a_certificate_and_its_key_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a system without files in memory
    pair = trustme.CA().issue_cert("a.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    keys.load_cert_chain(context, pair.cert_chain_pems[0].bytes(), pair.private_key_pem.bytes())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_file_is_readable_only_by_its_user_and_is_removed_after_the_block(
    in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    with keys.as_file(b"content") as path:
        assert Path(path).read_bytes() == b"content"
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert not Path(path).exists()


def test_a_process_that_is_killed_leaves_no_file_with_a_key() -> None:
    with keys.as_file(b"content") as path:
        file = Path(path).readlink()
        assert file.name.endswith("(deleted)"), "it has no name that could outlive the process"


def test_a_key_of_another_certificate_is_rejected() -> None:
    ca = trustme.CA()
    certificate, key = ca.issue_cert("a").cert_chain_pems[0], ca.issue_cert("b").private_key_pem
    with pytest.raises(ssl.SSLError):
        keys.load_cert_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate.bytes(), key.bytes())


def test_an_encrypted_key_is_rejected_without_a_password_prompt() -> None:
    pair = trustme.CA().issue_cert("a")
    key = serialization.load_pem_private_key(pair.private_key_pem.bytes(), password=None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    with pytest.raises(ssl.SSLError):
        keys.load_cert_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pair.cert_chain_pems[0].bytes(), encrypted)
