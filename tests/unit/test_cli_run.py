"""Options of `vk-provider run`: what cannot work is refused at once, in one line and with exit code 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.command_line import vk
from vk_provider import app
from vk_provider.cli.parent import Parent
from vk_provider.config import KUBELET_SERVING, CertificateFiles, KubeletSettings, PortRange, Settings
from vk_provider.kube.auth.credentials import Credentials

ELSEWHERE = "192.0.2.1"  # reserved for documentation


def refused(*options: str) -> str:
    result = vk("run", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings with which the command begins to serve; it does not."""
    found: list[Settings] = []

    async def serve(_credentials: Credentials, settings: Settings) -> None:
        found.append(settings)

    def credentials(_parent: object) -> Any:
        return None

    monkeypatch.setattr(app, "run", serve)
    monkeypatch.setattr(Parent, "credentials", credentials)
    return found


def pair(directory: Path) -> tuple[str, str]:
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    issued.private_key_pem.write_to_path(directory / "tls.key")
    return str(directory / "tls.crt"), str(directory / "tls.key")


def test_without_options_the_kubelet_api_is_as_on_most_clusters(settings: list[Settings]) -> None:
    assert vk("run").exit_code == 0
    assert settings[0].kubelet == KubeletSettings("", "", None, KUBELET_SERVING, None)


def test_all_options_reach_the_settings(settings: list[Settings], tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    result = vk(
        "run", "--kubelet-address", ELSEWHERE, "--kubelet-bind", "127.0.0.1", "--kubelet-ports", "10250-10299",
        "--kubelet-signer", "example.com/serving", "--kubelet-cert-file", certificate, "--kubelet-key-file", key,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    files = CertificateFiles(Path(certificate), Path(key))
    ports = PortRange(10250, 10299)
    assert settings[0].kubelet == KubeletSettings(ELSEWHERE, "127.0.0.1", ports, "example.com/serving", files)


def test_one_port_is_a_range(settings: list[Settings]) -> None:
    assert vk("run", "--kubelet-ports", "10250").exit_code == 0
    assert settings[0].kubelet.ports == PortRange(10250, 10250)


def test_an_address_of_another_machine_needs_an_address_to_listen_at() -> None:
    assert refused("--kubelet-address", ELSEWHERE) == (
        f"{ELSEWHERE} is not an address of this machine; "
        "give an address of this machine with --kubelet-bind, for example 0.0.0.0"
    )


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_the_address_that_nodes_publish_must_be_one_to_connect_to(address: str) -> None:
    assert refused("--kubelet-address", address).endswith(f"--kubelet-bind {address}")


def test_the_address_to_listen_at_must_be_of_this_machine() -> None:
    assert "is not an address of this machine" in refused("--kubelet-bind", ELSEWHERE)


@pytest.mark.parametrize("option", ["--kubelet-address", "--kubelet-bind"])
def test_an_address_must_be_one(option: str) -> None:
    assert "'somewhere' is not an IP address" in refused(option, "somewhere")


@pytest.mark.parametrize("ports", ["all", "10250-", "-10250", "10250:10299", "10250-x", "٣-٤", "1.5", " ", "100000"])
def test_ports_must_be_numbers(ports: str) -> None:
    assert "is not a range of ports such as 10250-10299" in refused(f"--kubelet-ports={ports}")


@pytest.mark.parametrize("ports", ["0", "10299-10250", "65000-70000"])
def test_ports_must_exist_and_be_in_order(ports: str) -> None:
    assert "is not a range of ports between 1 and 65535" in refused(f"--kubelet-ports={ports}")


@pytest.mark.parametrize("signer", ["", "kubelet-serving", "a/b/c", "/x", "a b/c"])
def test_a_signer_must_be_the_name_of_one(signer: str) -> None:
    assert "is not the name of a signer, such as kubernetes.io/kubelet-serving" in refused(f"--kubelet-signer={signer}")


def test_a_certificate_needs_its_key_and_a_key_its_certificate(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    for options in (("--kubelet-cert-file", certificate), ("--kubelet-key-file", key)):
        assert refused(*options) == "--kubelet-cert-file and --kubelet-key-file belong together: give both"


def test_a_file_must_exist() -> None:
    assert "does not exist" in refused("--kubelet-cert-file", "/nowhere", "--kubelet-key-file", "/nowhere")


def test_a_certificate_and_a_key_must_belong_together(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate, _ = pair(tmp_path)
    _, key = pair(tmp_path / "other")
    message = refused("--kubelet-cert-file", certificate, "--kubelet-key-file", key)
    assert message.startswith(f"{certificate} with {key} is not a certificate (PEM) with its private key:")
