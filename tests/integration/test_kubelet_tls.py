"""TLS of the kubelet API: certificates, versions, resumption and renewal."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from cryptography import x509

from tests.cluster import Cluster
from tests.integration.client_certificates import refused_in_the_handshake, stored
from tests.integration.kubelet_routes import statuses
from tests.integration.serving import ADDRESS, NODE, POD, request_bytes, serving
from vk_provider.kubelet import tls


class TestCertificates:
    async def test_the_serving_certificate_names_the_node_and_is_signed_by_the_parent(self, parent: Cluster) -> None:
        async with serving(parent) as served:
            _, writer = await served.connect()  # verifies the chain and the address
            certificate = presented(writer)
            writer.close()
        name = {attribute.rfc4514_attribute_name: attribute.value for attribute in certificate.subject}
        assert name == {"CN": f"system:node:{NODE}", "O": "system:nodes"}
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert san.get_values_for_type(x509.DNSName) == [NODE]
        assert [str(address) for address in san.get_values_for_type(x509.IPAddress)] == [ADDRESS]
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usages) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
    async def test_tls_1_1_is_rejected(self, parent: Cluster) -> None:
        async with serving(parent) as served:
            old = served.tls()
            old.set_ciphers("DEFAULT:@SECLEVEL=0")
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await served.connect(old)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_newer_tls_works_with_a_client_certificate(self, parent: Cluster, version: ssl.TLSVersion) -> None:
        async with serving(parent) as served:
            context = served.tls(served.apiserver)
            context.minimum_version = context.maximum_version = version
            async with served.session(context) as session, session.get("/healthz") as response:
                assert response.status == 200

    @pytest.mark.parametrize(
        ("version", "resumed"), [(ssl.TLSVersion.TLSv1_2, (True, 401)), (ssl.TLSVersion.TLSv1_3, (False, 200))]
    )
    async def test_a_resumed_session_does_not_authenticate_by_certificate(
        self, parent: Cluster, version: ssl.TLSVersion, resumed: tuple[bool, int]
    ) -> None:
        """The certificate is not verified again: it may have expired, or its CA may no longer be valid."""
        async with serving(parent) as served:
            context = served.tls(served.apiserver)
            context.minimum_version = context.maximum_version = version

            def ask(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, tuple[bool | None, int]]:
                with (
                    socket.create_connection((ADDRESS, served.port), timeout=10) as connection,
                    context.wrap_socket(connection, server_hostname=ADDRESS, session=session) as tls,
                ):
                    tls.sendall(request_bytes("GET", "/healthz", Connection="close"))
                    code = int(tls.recv(1000).split()[1])
                    return tls.session, (tls.session_reused, code)

            session, first = await asyncio.to_thread(ask, None)
            assert first == (False, 200)
            assert (await asyncio.to_thread(ask, session))[1] == resumed

    async def test_a_renewed_certificate_serves_new_connections_and_keeps_open_ones(self, parent: Cluster) -> None:
        proceed = asyncio.Event()

        async def member(request: web.Request) -> web.StreamResponse | None:
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(b"before\n")
            await proceed.wait()
            await answer.write(b"after\n")
            return answer

        async with serving(parent, member) as served:
            tls = served.tls(served.apiserver)
            async with served.session(tls) as session, session.get(f"/containerLogs/{POD}/app") as log:
                assert await log.content.readline() == b"before\n"
                _, writer = await served.connect()
                first = presented(writer).serial_number
                writer.close()
                served.server.tls.renew_at = now = asyncio.get_running_loop().time()
                await served.server.tls.renew()
                assert served.server.tls.renew_at > now
                _, writer = await served.connect()
                assert presented(writer).serial_number != first
                writer.close()
                proceed.set()
                assert await log.content.readline() == b"after\n"
            assert await statuses(served, tls=tls) != {}

    async def test_a_new_client_ca_of_the_parent_is_used(
        self, parent: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ca = trustme.CA()
        new = stored(tmp_path, ca.issue_cert(common_name="new-client"))

        async def published(_parent: object) -> str:
            return ca.cert_pem.bytes().decode()

        async with serving(parent) as served:
            assert await refused_in_the_handshake(served, new)
            monkeypatch.setattr(tls, "client_ca", published)
            await served.server.tls.refresh_ca()
            async with served.session(served.tls(new)) as session, session.get("/healthz") as response:
                assert response.status == 403  # authenticated now, but without permissions
            assert await refused_in_the_handshake(served, served.apiserver)


def presented(writer: asyncio.StreamWriter) -> x509.Certificate:
    return x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
