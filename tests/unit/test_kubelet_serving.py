"""Whatever keeps the kubelet API from being served is reported and tried again; it never ends anything else."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from pathlib import Path

import pytest
import trustme

from tests.unit.kubelet_server import ADDRESS, NODE, Parent, Server, running
from tests.waiting import eventually_here
from vk_provider.api import wellknown
from vk_provider.config import CertificateFiles, KubeletSettings, PortRange
from vk_provider.errors import ForbiddenError
from vk_provider.kube.watch import INACTIVITY
from vk_provider.kubelet import certs, server, tls


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_RETRY_CAP", 0.05)
    monkeypatch.setattr(server, "_RETRY_CAP", 0.05)


async def test_it_is_served() -> None:
    async with running(Server(Parent())) as served:
        assert await served.ask("/healthz", certified=True) == (200, "ok")
        assert served.events == []


@pytest.mark.parametrize("published", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_a_client_ca_that_is_not_valid_is_reported_and_tried_again(published: str) -> None:
    parent = Parent()
    good, parent.client_ca = parent.client_ca, published
    async with running(Server(parent), served=False) as served:
        await eventually_here(lambda: len(served.events) > 1, "it is reported, and tried again")
        kind, reason, message = served.events[0]
        assert (kind, reason) == ("Warning", wellknown.KUBELET_API_NOT_SERVED)
        assert "client-ca-file of configmap kube-system/extension-apiserver-authentication" in message
        assert parent.requests == [], "no certificate is requested that could not be used"
        parent.client_ca = good
        await eventually_here(lambda: served.ports, "it is served")
        assert served.events[-1][:2] == ("Normal", wellknown.KUBELET_API_SERVED)


async def test_a_signed_certificate_that_is_none_is_reported_and_tried_again() -> None:
    parent = Parent()
    parent.signed = base64.b64encode(b"no certificate").decode()
    async with running(Server(parent), served=False) as served:
        await eventually_here(lambda: served.events, "it is reported")
        assert "what the parent signed for CertificateSigningRequest csr-0 is not a certificate" in served.events[0][2]
        parent.signed = None
        await eventually_here(lambda: served.ports, "it is served")


async def test_an_address_of_another_machine_is_reported_and_tried_again() -> None:
    settings = KubeletSettings(address="192.0.2.1")
    async with running(Server(Parent(), settings), served=False) as served:
        await eventually_here(lambda: len(served.events) > 1, "it is reported, and tried again")
        assert served.events[0][2] == (
            "192.0.2.1 is not an address of this machine; "
            "give an address of this machine with --kubelet-bind, for example 0.0.0.0"
        )


async def test_an_unexpected_error_is_reported_and_tried_again() -> None:
    parent = Parent()
    parent.failing["get configmaps"] = RuntimeError("a defect")
    async with running(Server(parent), served=False) as served:
        await eventually_here(lambda: served.events, "it is reported")
        assert served.events[0][2] == "RuntimeError: a defect"
        parent.failing.clear()
        await eventually_here(lambda: served.ports, "it is served")


async def test_a_failed_renewal_leaves_the_old_certificate_and_the_server_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls, "_CHECK_CA", 0.05)
    parent = Parent()
    async with running(Server(parent)) as served:
        good, parent.client_ca = parent.client_ca, "no PEM"
        await eventually_here(lambda: len(served.events) > 1, "it is reported, and tried again")
        assert served.events[0][:2] == ("Warning", wellknown.KUBELET_CERTIFICATE_NOT_RENEWED)
        assert await served.ask("/healthz", certified=True) == (200, "ok")
        parent.client_ca = good


async def test_the_published_address_and_the_one_that_it_listens_at_may_differ() -> None:
    parent = Parent()
    settings = KubeletSettings(address="192.0.2.1", bind=ADDRESS)
    async with running(Server(parent, settings)) as served:
        _, writer = await asyncio.open_connection(ADDRESS, served.port)
        writer.close()


class TestRequests:
    async def test_one_request_is_watched_until_it_is_signed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(certs, "_SIGNED_SOON", 0.05)
        parent = Parent()
        parent.signs = False
        async with running(Server(parent), served=False) as served:
            await eventually_here(lambda: served.events, "the delay is reported")
            assert "csr-0 of the parent was not signed within" in served.events[0][2]
            assert parent.asked.count("get certificatesigningrequests") == 1
            for times in (2, 3, 4):  # it changes, and is not signed
                parent.changed.set()
                await eventually_here(lambda n=times: parent.asked.count("watch certificatesigningrequests") == n, "")  # type: ignore[misc]
            parent.signs = True
            parent.changed.set()
            await eventually_here(lambda: served.ports, "it is served")
            assert parent.requests == ["csr-0"]

    async def test_a_dead_watch_of_a_request_is_noticed_by_missing_bookmarks(self) -> None:
        parent = Parent()
        parent.signs = False
        async with running(Server(parent), served=False):
            await eventually_here(lambda: parent.inactivity, "it is watched")
            assert parent.inactivity <= INACTIVITY
            for _ in range(3):
                await asyncio.sleep(0)
            assert parent.asked.count("get certificatesigningrequests") == 1, "a bookmark is no change"

    async def test_a_request_that_may_not_be_approved_waits_for_another_approver(self) -> None:
        parent = Parent()
        parent.failing["patch certificatesigningrequests/approval"] = ForbiddenError(403, "Forbidden", "no")
        async with running(Server(parent)) as served:
            assert parent.requests == ["csr-0"]
            assert "kubectl certificate approve csr-0" in served.events[0][2]

    async def test_after_a_request_that_was_deleted_there_is_another(self) -> None:
        parent = Parent()
        parent.signs = False
        async with running(Server(parent), served=False) as served:
            await eventually_here(lambda: "watch certificatesigningrequests" in parent.asked, "it is watched")
            parent.forget("csr-0")
            parent.signs = True
            await eventually_here(lambda: served.ports, "it is served")
            assert parent.requests == ["csr-0", "csr-1"]

    async def test_a_denied_request_is_reported(self) -> None:
        parent = Parent()
        parent.denied = True
        async with running(Server(parent), served=False) as served:
            await eventually_here(lambda: served.events, "it is reported")
            assert served.events[0][2] == (
                "CertificateSigningRequest csr-0 of the parent: Denied: no; see kubectl describe csr csr-0"
            )

    async def test_the_signer_is_that_of_the_settings(self) -> None:
        parent = Parent()
        async with running(Server(parent, KubeletSettings(address=ADDRESS, signer="example.com/serving"))):
            assert parent.spec("csr-0")["signerName"] == "example.com/serving"


class TestFiles:
    def write(self, directory: Path, ca: trustme.CA) -> CertificateFiles:
        files = CertificateFiles(directory / "tls.crt", directory / "tls.key")
        issued = ca.issue_cert(ADDRESS)
        for path, pem in zip(files, (issued.cert_chain_pems[0], issued.private_key_pem), strict=True):
            pem.write_to_path(f"{path}.new")
            os.replace(f"{path}.new", path)  # as a mounted Secret is replaced
        return files

    async def serial(self, served: Server) -> int:
        _, writer = await served.connect()
        found = writer.get_extra_info("peercert")
        writer.close()
        return int(found["serialNumber"], 16)

    async def test_a_certificate_from_files_needs_no_request(self, tmp_path: Path) -> None:
        parent = Parent()
        files = self.write(tmp_path, parent.ca)
        async with running(Server(parent, KubeletSettings(address=ADDRESS, files=files))) as served:
            assert await served.ask("/healthz", certified=True) == (200, "ok")
            assert parent.requests == []

    async def test_changed_files_are_served_to_new_connections(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(certs.FromFiles, "check_seconds", 0.05)
        parent = Parent()
        files = self.write(tmp_path, parent.ca)
        async with running(Server(parent, KubeletSettings(address=ADDRESS, files=files))) as served:
            first = await self.serial(served)
            files.key.write_text("half a rotation")
            await eventually_here(lambda: served.events, "it is reported")
            assert await self.serial(served) == first
            self.write(tmp_path, parent.ca)
            serials = {first}
            while serials == {first}:
                serials.add(await self.serial(served))


class TestPorts:
    def node(self, name: str, port: int, address: str = ADDRESS) -> dict[str, object]:
        status = {
            "addresses": [{"type": "InternalIP", "address": address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        return {"metadata": {"name": name}, "status": status}

    def settings(self, size: int = 20) -> tuple[KubeletSettings, PortRange]:
        # Below the ports that systems give away, and not those of another worker of the same run.
        first = 20_000 + os.getpid() % 500 * 20
        ports = PortRange(first, first + size - 1)
        return KubeletSettings(address=ADDRESS, ports=ports), ports

    async def test_the_port_is_of_the_range(self) -> None:
        settings, ports = self.settings()
        async with running(Server(Parent(), settings)) as served:
            assert served.port in ports

    async def test_a_node_keeps_the_port_that_it_publishes(self) -> None:
        settings, ports = self.settings()
        for port in (ports.first + 3, ports.first + 11):
            parent = Parent()
            parent.nodes = [self.node(NODE, port)]
            async with running(Server(parent, settings)) as served:
                assert served.port == port

    async def test_ports_of_other_nodes_are_left_to_them(self) -> None:
        settings, ports = self.settings(size=3)
        parent = Parent()
        parent.nodes = [self.node("a", ports.first), self.node("b", ports.last)]
        async with running(Server(parent, settings)) as served:
            assert served.port == ports.first + 1

    async def test_a_range_without_a_free_port_is_reported_and_tried_again(self) -> None:
        settings, ports = self.settings(size=1)
        with socket.socket() as taken:
            taken.bind((ADDRESS, ports.first))
            taken.listen()
            async with running(Server(Parent(), settings), served=False) as served:
                await eventually_here(lambda: served.events, "it is reported")
                assert served.events[0][2] == f"no port of {ports} is free at {ADDRESS}; choose other --kubelet-ports"
                taken.close()
                await eventually_here(lambda: served.ports, "it is served")

    async def test_without_a_range_no_node_is_read(self) -> None:
        parent = Parent()
        async with running(Server(parent)):
            assert not [each for each in parent.asked if "nodes" in each]
