"""Kubeconfigs, exec plugins and their credentials."""

from __future__ import annotations

import base64
import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
import yaml

from vk_provider.errors import ConfigError
from vk_provider.kube.auth.kubeconfig import Kubeconfig

SECRET = "S3CR3T-value"
Document = dict[str, Any]


def kubeconfig(user: Any = None, cluster: Document | None = None, **top: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "east",
        "contexts": [{"name": "east", "context": {"cluster": "east", "user": "admin"}}],
        "clusters": [{"name": "east", "cluster": {"server": "https://east.example.com:6443", **(cluster or {})}}],
        "users": [{"name": "admin", "user": {"token": SECRET} if user is None else user}],
        **top,
    }


def write(path: Path, document: Any) -> str:
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return str(path)


def from_secret(document: Any) -> Kubeconfig:
    text = document if isinstance(document, str) else yaml.safe_dump(document)
    return Kubeconfig.from_secret(text.encode(), "Secret default/east")


def plugin(path: Path, body: str) -> str:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def exec_user(command: str, **more: Any) -> Document:
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command, **more}}


def certificate_user(certificate: trustme.LeafCert, key: trustme.LeafCert) -> Document:
    """A user with a certificate, and with the key of the same or of another one."""
    return {
        "client-certificate-data": base64.b64encode(certificate.cert_chain_pems[0].bytes()).decode(),
        "client-key-data": base64.b64encode(key.private_key_pem.bytes()).decode(),
    }


def answer(**status: str) -> str:
    return json.dumps(
        {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t", **status}}
    )


async def authorization_of(path: str) -> str | None:
    return await Kubeconfig.from_files(path).credentials().authorization()


def error_message(act: Callable[[], object]) -> str:
    """The message of the ConfigError, which never shows a secret."""
    with pytest.raises(ConfigError) as caught:
        act()
    message = str(caught.value)
    assert SECRET not in message
    return message


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[float]:
    """Lets this time pass for credentials. The list holds their time, in monotonic seconds; the test may set it."""
    now = [time.monotonic() + seconds]
    monkeypatch.setattr("vk_provider.kube.auth.credentials.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now
