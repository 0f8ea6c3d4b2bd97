"""Certificates in PEM texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

# cryptography rejects a whole text because of one bad block, so every block is read on its own.
_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def certificates(text: str) -> Iterator[str]:
    """Each certificate of a text as a canonical PEM block. Text between blocks, and blocks without a valid certificate,
    are skipped.
    """
    for block in _BLOCK.findall(text.encode()):
        try:
            yield x509.load_pem_x509_certificate(block).public_bytes(Encoding.PEM).decode()
        except ValueError:
            continue  # API servers accept no such block
