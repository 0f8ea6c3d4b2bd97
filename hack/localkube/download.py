"""Downloads the official release binaries, from the Kubernetes project or from a mirror."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from .progress import Progress

_TIMEOUT_SECONDS = 5.0
_DEFAULT_BASE = "https://dl.k8s.io"


class Downloads:
    """Downloads until the first failure: after one failed download, every further one fails at once."""

    def __init__(self, version: str, architecture: str, progress: Progress) -> None:
        base = (os.environ.get("LOCALKUBE_DOWNLOAD_URL") or _DEFAULT_BASE).rstrip("/")
        self._folder = f"{base}/{version}/bin/linux/{architecture}"
        self._progress = progress
        self._reachable = True

    def fetch(self, name: str, label: str, target: Path) -> bool:
        """Writes the program to `target`. Returns whether that succeeded and the published checksum matches."""
        if not self._reachable:
            return False
        url = f"{self._folder}/{name}"
        self._progress.step("binaries", f"downloading {label}")
        try:
            with urllib.request.urlopen(f"{url}.sha256", timeout=_TIMEOUT_SECONDS) as answer:
                wanted = answer.read().decode().split()[0]
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer, target.open("wb") as output:
                shutil.copyfileobj(answer, output, 1 << 20)
            with target.open("rb") as written:
                if hashlib.file_digest(written, "sha256").hexdigest() != wanted:
                    raise ValueError("the checksum does not match")
        except (OSError, ValueError, IndexError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            self._progress.step("binaries", f"{url}: {reason}; building from source instead")
            self._reachable = False
        return self._reachable
