"""Kubeconfigs mean the same to this program and to the official client; merging follows kubectl."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import Configuration
from kubernetes.config import kube_config

from vk_provider.errors import ConfigError
from vk_provider.kube.auth import documents
from vk_provider.kube.auth.kubeconfig import Kubeconfig

Document = dict[str, Any]


def document(name: str = "east", *, user: Document | None = None, cluster: Document | None = None) -> Document:
    return {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}:6443", **(cluster or {})}}],
        "users": [{"name": name, "user": user or {"token": f"token of {name}"}}],
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "content",
    [
        document(),
        document(user={"username": "admin", "password": "sesame"}),
        document(cluster={"insecure-skip-tls-verify": True}),
        document(cluster={"tls-server-name": "api.east"}),
        document(cluster={"proxy-url": "http://proxy:3128"}),
        document(cluster={"server": "https://east/k8s/clusters/c-1/"}),
        document(cluster={"server": "https://[fd00::1]:6443"}),
        document(cluster={"server": "http://localhost:8080"}),
    ],
    ids=["token", "password", "insecure", "server name", "proxy", "path", "IPv6", "http"],
)
async def test_the_official_client_agrees(tmp_path: Path, content: Document) -> None:
    path = write(tmp_path / "config", content)
    theirs = Configuration()
    kube_config.load_kube_config(str(path), client_configuration=theirs)
    ours = Kubeconfig.from_files(str(path)).credentials()
    assert ours.server == theirs.host
    assert await ours.authorization() == theirs.api_key.get("BearerToken")
    assert ours.ssl.check_hostname == theirs.verify_ssl
    assert ours.tls_server_name == (theirs.tls_server_name or None)
    assert ours.proxy == theirs.proxy


def test_the_first_file_that_defines_a_name_wins(tmp_path: Path) -> None:
    one = write(tmp_path / "one", document(user={"token": "first"}))
    two = write(tmp_path / "two", document(user={"token": "second"}))
    three = write(tmp_path / "three", document("west"))
    files = [one, two, three]
    merged = documents.read(files, "merged")
    theirs = kube_config.KubeConfigMerger(os.pathsep.join(map(str, files))).config
    assert merged.current_context == "east"  # as in kubectl; the official client takes the last one
    for section in ("contexts", "clusters", "users"):
        assert set(merged.sections[section]) == {entry["name"] for entry in theirs[section].value} == {"east", "west"}
    assert merged.find("users", "east").content == {"token": "first"}


def test_the_first_entry_of_a_file_wins() -> None:
    content = document()
    content["users"].append({"name": "east", "user": {"token": "later"}})
    parsed = documents.parse(yaml.safe_dump(content).encode(), "secret a/b")
    assert parsed.find("users", "east").content == {"token": "token of east"}


@pytest.mark.parametrize("field", ["token", "password", "server"])
def test_a_number_where_text_belongs_is_rejected_without_its_value(field: str) -> None:
    content = document()
    part = content["clusters"][0]["cluster"] if field == "server" else content["users"][0]["user"]
    part[field] = 12345678
    with pytest.raises(ConfigError) as caught:
        documents.parse(yaml.safe_dump(content).encode(), "secret a/b")
    assert str(caught.value) == f"secret a/b: {field} of 'east' is not a string; write it in quotes"


def test_an_empty_section_is_an_empty_list() -> None:
    assert documents.parse(b"users: null", "secret a/b").sections["users"] == {}
