"""Nobody gets anything from the kubelet API of a virtual node but those whom the parent knows and allows."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster import BINDINGS, CLUSTER_ROLES, Cluster
from tests.integration.serving import ADDRESS, LOG, NODE, Served, request_bytes, serving
from tests.waiting import eventually, eventually_here
from vk_provider.kube.resources import SERVICE_ACCOUNTS
from vk_provider.kubelet import server as module
from vk_provider.kubelet import tls
from vk_provider.kubelet.auth import SUBJECT_ACCESS_REVIEWS
from vk_provider.kubelet.certs import CSRS


@dataclass(frozen=True)
class Route:
    """A request, the rights of which any suffices, and the status with which it is answered then."""

    method: str
    path: str
    rights: tuple[str, ...]
    status: int = 200


_POD: Final = "shop/web-1"
ROUTES: Final = [
    Route("GET", f"/containerLogs/{_POD}/app", ("get proxy",)),
    Route("GET", "/containerLogs/shop/absent/app", ("get proxy",), 404),
    *(
        Route(method, path, ("create proxy",), 400)  # streams, which these requests do not ask for
        for path in (
            f"/exec/{_POD}/app",
            f"/exec/{_POD}/p-1/app",
            f"/attach/{_POD}/app",
            f"/attach/{_POD}/p-1/app",
            f"/portForward/{_POD}",
            f"/portForward/{_POD}/p-1",
        )
        for method in ("GET", "POST")
    ),
    Route("POST", f"/run/{_POD}/app", ("create proxy",), 400),
    Route("POST", f"/run/{_POD}/p-1/app", ("create proxy",), 400),
    Route("GET", "/pods", ("get pods", "get proxy")),
    Route("GET", "/runningpods/", ("get pods", "get proxy")),
    Route("GET", "/stats/summary", ("get stats",)),
    Route("POST", "/stats/summary", ("create stats",)),
    Route("GET", "/metrics", ("get metrics",)),
    Route("GET", "/metrics/resource", ("get metrics",)),
    Route("GET", "/metrics/cadvisor", ("get metrics",)),
    Route("GET", "/metrics/probes", ("get metrics",)),
    Route("GET", "/healthz", ("get healthz", "get proxy")),
    Route("GET", "/configz", ("get configz", "get proxy")),
    Route("POST", f"/checkpoint/{_POD}/app", ("create checkpoint",), 501),
    # What there is not, is not told to everybody.
    Route("GET", "/", ("get proxy",), 404),
    Route("GET", "/nothing", ("get proxy",), 404),
    Route("GET", "/logs/messages", ("get log",), 404),
    Route("PUT", f"/exec/{_POD}/app", ("create proxy",), 405),
    Route("DELETE", "/pods", ("delete pods", "delete proxy"), 405),
    # Ways around the table of rights.
    Route("GET", f"/metrics/../containerLogs/{_POD}/app", ("get metrics",), 404),
    Route("GET", f"/metrics/%2e%2e/containerLogs/{_POD}/app", ("get metrics",), 404),
    Route("GET", f"/metrics%2F../containerLogs/{_POD}/app", ("get metrics",), 404),
    Route("GET", f"//containerLogs/{_POD}/app", ("get proxy",), 404),
    Route("GET", f"/%63ontainerLogs/{_POD}/app", ("get proxy",)),
    Route("POST", f"/%65xec/{_POD}/app", ("create proxy",), 400),
]
EVERY_RIGHT: Final = sorted({right for route in ROUTES for right in route.rights} | {"get exec", "create pods"})


async def statuses(served: Served, *, tls: ssl.SSLContext | None = None, token: str = "") -> dict[str, int]:
    """Every route with the status of its answer, over connections of their own."""
    async with asyncio.TaskGroup() as group:
        tasks = {
            f"{route.method} {route.path}": group.create_task(status(served, route, tls, token)) for route in ROUTES
        }
    return {name: task.result() for name, task in tasks.items()}


async def status(served: Served, route: Route, tls: ssl.SSLContext | None, token: str) -> int:
    """As bytes, because clients tidy up paths. An answer of 401 or 403 gives nothing away."""
    reader, writer = await served.connect(tls)
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    writer.write(request_bytes(route.method, route.path, Connection="close", **authorization))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    code = int(head.split()[1])
    if code == 401:
        assert body == b"Unauthorized"
    if code == 403:
        assert body.startswith(b"Forbidden (user=")
    return code


def expected(rights: set[str]) -> dict[str, int]:
    return {f"{route.method} {route.path}": route.status if rights & set(route.rights) else 403 for route in ROUTES}


def everything(code: int) -> dict[str, int]:
    return {f"{route.method} {route.path}": code for route in ROUTES}


def account(parent: Cluster, rights: set[str], name: str = "") -> str:
    """The token of a new service account with these rights on nodes, once the authorizer knows of them."""
    name = name or f"kubelet-it-{uuid.uuid4().hex[:8]}"
    parent.create(SERVICE_ACCOUNTS, {"metadata": {"name": name}}, "default")
    rules = [
        {"apiGroups": [""], "resources": [f"nodes/{right.split()[1]}"], "verbs": [right.split()[0]]}
        for right in sorted(rights)
    ]
    parent.create(CLUSTER_ROLES, {"metadata": {"name": name}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    parent.create(BINDINGS, {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]})
    user = f"system:serviceaccount:default:{name}"
    for right in rights:
        eventually(lambda right=right: _allowed(parent, user, right), f"{name} may {right}")  # type: ignore[misc]
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token: str = parent.call("POST", SERVICE_ACCOUNTS.path(name, "default", "token"), body)["status"]["token"]
    return token


def _allowed(parent: Cluster, user: str, right: str) -> bool:
    verb, subresource = right.split()
    attributes = {"verb": verb, "resource": "nodes", "subresource": subresource, "name": NODE}
    spec = {"user": user, "groups": [], "resourceAttributes": attributes}
    return bool(parent.create(SUBJECT_ACCESS_REVIEWS, {"spec": spec})["status"]["allowed"])


def stored(directory: Path, issued: trustme.LeafCert) -> tuple[str, str]:
    certificate, key = directory / "client.crt", directory / "client.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return str(certificate), str(key)


async def refused_in_the_handshake(served: Served, certificate: tuple[str, str]) -> bool:
    """With TLS 1.3 a client learns of it only when it reads."""
    try:
        async with served.session(served.tls(certificate)) as session, session.get("/healthz"):
            return False
    except (aiohttp.ClientError, ssl.SSLError, ConnectionError):
        return True


class TestWhoIsLetIn:
    async def test_nobody_without_credentials(self, parent: Cluster) -> None:
        async with serving(parent) as served:
            assert await statuses(served) == everything(401)
            assert served.member.asked == []

    @pytest.mark.parametrize("token", ["garbage", "a.b.c", "x" * 5000])
    async def test_nobody_with_a_token_that_the_parent_does_not_know(self, parent: Cluster, token: str) -> None:
        async with serving(parent) as served:
            assert await statuses(served, token=token) == everything(401)
            assert served.member.asked == []

    @pytest.mark.parametrize("scheme", ["Basic", "bearer:", "Bearer", "Token", ""])
    async def test_nobody_with_another_kind_of_authorization(self, parent: Cluster, scheme: str) -> None:
        async with serving(parent) as served, served.session() as session:
            async with session.get("/healthz", headers={"Authorization": f"{scheme} "}) as response:
                assert response.status == 401

    async def test_nobody_whose_token_gives_no_right(self, parent: Cluster) -> None:
        token = account(parent, set())
        async with serving(parent) as served:
            assert await statuses(served, token=token) == everything(403)
            assert served.member.asked == []

    @pytest.mark.parametrize(
        "right", ["get proxy", "create proxy", "get metrics", "get stats", "get log", "get pods", "create checkpoint"]
    )
    async def test_one_right_opens_what_it_is_for_and_nothing_else(self, parent: Cluster, right: str) -> None:
        token = account(parent, {right})
        async with serving(parent) as served:
            assert await statuses(served, token=token) == expected({right})

    async def test_the_parents_api_server_with_its_certificate(self, parent: Cluster) -> None:
        async with serving(parent) as served:
            assert await statuses(served, tls=served.tls(served.apiserver)) == expected(set(EVERY_RIGHT))

    async def test_an_unverified_certificate_spoils_no_good_token_and_a_good_certificate_goes_first(
        self, parent: Cluster
    ) -> None:
        async with serving(parent) as served, served.session(served.tls(served.apiserver), token="garbage") as session:
            async with session.get("/healthz") as response:
                assert (response.status, await response.read()) == (200, b"ok")

    async def test_nobody_with_a_certificate_of_another_ca(self, parent: Cluster, tmp_path: Path) -> None:
        issued = trustme.CA().issue_cert(common_name="system:admin", organization_name="system:masters")
        async with serving(parent) as served:
            assert await refused_in_the_handshake(served, stored(tmp_path, issued))

    async def test_nobody_with_a_self_signed_certificate(self, parent: Cluster, tmp_path: Path) -> None:
        ca = trustme.CA(organization_name="system:masters")
        key = tmp_path / "key"
        certificate = tmp_path / "certificate"
        ca.private_key_pem.write_to_path(key)
        ca.cert_pem.write_to_path(certificate)
        async with serving(parent) as served:
            assert await refused_in_the_handshake(served, (str(certificate), str(key)))

    async def test_nobody_with_a_serving_certificate_of_the_right_ca(self, parent: Cluster, tmp_path: Path) -> None:
        """Every kubelet has one of those; it is good for serving only."""
        async with serving(parent) as served:
            assert await refused_in_the_handshake(served, serving_certificate(parent, tmp_path))

    async def test_a_right_that_was_taken_away_ends_when_the_answer_is_forgotten(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vk_provider.kubelet.auth._ALLOWED_SECONDS", 0.1)
        name = f"fired-{uuid.uuid4().hex[:8]}"
        token = account(parent, {"get healthz"}, name)
        async with serving(parent) as served, served.session(token=token) as session:
            async with session.get("/healthz") as response:
                assert response.status == 200
            parent.delete(BINDINGS, name)
            code = 200
            while code == 200:
                async with asyncio.timeout(20), session.get("/healthz") as response:
                    code = response.status
            assert code == 403

    async def test_one_question_to_the_parent_serves_many_requests(self, parent: Cluster) -> None:
        token = account(parent, {"get healthz"})
        async with serving(parent) as served, served.session(token=token) as session:
            position = parent.audit_position()

            async def ask() -> int:
                async with session.get("/healthz") as response:
                    return response.status

            assert set(await asyncio.gather(*(ask() for _ in range(30)))) == {200}
            asked = [request.resource for request in parent.requests(position)]
            assert (asked.count("tokenreviews"), asked.count("subjectaccessreviews")) == (1, 1)

    async def test_a_parent_that_gives_no_answer_means_no(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(parent) as served, served.session(token="anything") as session:
            monkeypatch.setattr(served.to_parent.credentials, "server", "https://127.0.0.1:1", raising=False)
            async with session.get("/pods") as response:
                assert (response.status, b"items" in await response.read()) == (503, False)


class TestCertificates:
    async def test_the_serving_certificate_is_that_of_the_node_signed_by_the_parent(self, parent: Cluster) -> None:
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
    async def test_tls_1_1_is_refused(self, parent: Cluster) -> None:
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
    async def test_a_resumed_session_brings_no_certificate(
        self, parent: Cluster, version: ssl.TLSVersion, resumed: tuple[bool, int]
    ) -> None:
        """Nobody has verified it again: it may have expired, or its CA may be the parent's no longer."""
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

    async def test_renewal_serves_new_connections_and_leaves_open_ones_alone(self, parent: Cluster) -> None:
        going_on = asyncio.Event()

        async def member(request: web.Request) -> web.StreamResponse | None:
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(b"before\n")
            await going_on.wait()
            await answer.write(b"after\n")
            return answer

        async with serving(parent, member) as served:
            tls = served.tls(served.apiserver)
            async with served.session(tls) as session, session.get(f"/containerLogs/{_POD}/app") as log:
                assert await log.content.readline() == b"before\n"
                _, writer = await served.connect()
                first = presented(writer).serial_number
                writer.close()
                served.server.tls.renew_at = now = asyncio.get_running_loop().time()
                await served.server.tls.refresh()
                assert served.server.tls.renew_at > now
                _, writer = await served.connect()
                assert presented(writer).serial_number != first
                writer.close()
                going_on.set()
                assert await log.content.readline() == b"after\n"
            assert await statuses(served, tls=tls) != {}

    async def test_a_new_client_ca_of_the_parent_is_taken_up(
        self, parent: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ca = trustme.CA()
        new = stored(tmp_path, ca.issue_cert(common_name="somebody"))

        async def published(_parent: object) -> str:
            return ca.cert_pem.bytes().decode()

        async with serving(parent) as served:
            assert await refused_in_the_handshake(served, new)
            monkeypatch.setattr(tls, "client_ca", published)
            await served.server.tls.refresh()
            async with served.session(served.tls(new)) as session, session.get("/healthz") as response:
                assert response.status == 403  # known now, without any right
            assert await refused_in_the_handshake(served, served.apiserver)


GARBAGE: Final = {
    "nothing": b"",
    "half a request line": b"GET /heal",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthor",
    "noise": bytes(range(256)) * 40,
    "line feeds": b"\n" * 5000,
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "an odd version": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    "a lower case method": b"get /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long method": b"G" * 100_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long line": b"GET /" + b"a" * (3 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a huge header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (3 << 20) + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "a length that lies": b"POST /stats/summary HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad chunks": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n\r\n",
    "an upgrade to nothing": request_bytes("GET", f"/exec/{_POD}/app", Connection="Upgrade", Upgrade=""),
    "an upgrade to what there is not": request_bytes("GET", f"/exec/{_POD}/app", Connection="Upgrade", Upgrade="x"),
    "a WebSocket without a key": request_bytes("GET", f"/exec/{_POD}/app", Connection="Upgrade", Upgrade="websocket"),
    "CONNECT": b"CONNECT 127.0.0.1:6443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a whole URL": b"GET http://127.0.0.1:6443/pods HTTP/1.1\r\nHost: x\r\n\r\n",
    "an expectation": b"GET /pods HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
    "bytes that are not text": b"GET /\xff\xfe?\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "pipelining": request_bytes("GET", "/pods") * 500,
}


class TestHostileClients:
    @pytest.mark.parametrize("kind", GARBAGE)
    async def test_garbage_gets_nothing_and_breaks_nothing(
        self, parent: Cluster, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(parent) as served:
            reader, writer = await served.connect()
            writer.write(GARBAGE[kind])
            writer.transport.set_write_buffer_limits(high=0)
            answer = await _answer(reader)
            codes = {int(line.split()[1]) for line in answer.split(b"\n") if line.startswith(b"HTTP/1.")}
            assert codes <= {400, 401, 417, 431}, answer[:300]
            assert b"items" not in answer
            writer.transport.abort()
            assert await _healthy(served)
            await eventually_here(lambda: served.sockets() == 0, "no connection is left over")
            assert served.member.asked == []
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    @pytest.mark.parametrize("kind", GARBAGE)
    async def test_garbage_of_one_who_may_everything_breaks_nothing(
        self, parent: Cluster, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(parent) as served:
            reader, writer = await served.connect(served.tls(served.apiserver))
            writer.write(GARBAGE[kind])
            answer = await _answer(reader)
            assert b" 500 " not in answer.partition(b"\r\n")[0]
            assert b"Traceback" not in answer
            writer.transport.abort()
            assert await _healthy(served)
            await eventually_here(lambda: served.sockets() == 0, "no connection is left over")
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    async def test_a_command_of_bytes_that_are_not_text_reaches_the_member_or_is_refused(self, parent: Cluster) -> None:
        async with serving(parent) as served:
            reader, writer = await served.connect(served.tls(served.apiserver))
            head = request_bytes("POST", f"/exec/{_POD}/app?command=@", Connection="Upgrade", Upgrade="SPDY/3.1")
            writer.write(head.replace(b"@", b"\xff\xfe"))
            answer = await _answer(reader)
            assert answer.split(b" ")[1] in (b"400", b"404"), answer[:200]
            writer.close()

    @pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
    async def test_who_says_nothing_of_use_is_cut_off(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch, sent: bytes
    ) -> None:
        """Slowloris: a byte now and then is not a request."""
        monkeypatch.setattr(module, "_FIRST_REQUEST", 0.5)
        async with serving(parent) as served:
            reader, writer = await served.connect()
            writer.write(sent)
            drip = asyncio.create_task(_drip(writer, b"a" if sent else b""))
            async with asyncio.timeout(20):
                assert await _rest(reader) == b""
            drip.cancel()
            writer.transport.abort()
            await eventually_here(lambda: served.sockets() == 0, "no connection is left over")

    async def test_who_never_begins_tls_is_cut_off(self, parent: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_HANDSHAKE", 0.5)
        async with serving(parent) as served:
            reader, writer = await asyncio.open_connection(ADDRESS, served.port)
            async with asyncio.timeout(20):
                assert await reader.read() == b""
            writer.close()

    async def test_wrong_credentials_again_and_again_are_cut_off(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_FIRST_REQUEST", 0.5)
        async with serving(parent) as served:
            reader, writer = await served.connect()
            async with asyncio.timeout(20):
                while True:
                    writer.write(request_bytes("GET", "/healthz"))
                    try:
                        head = await reader.readuntil(b"\r\n\r\n")
                    except (asyncio.IncompleteReadError, ConnectionError):
                        break
                    assert head.startswith(b"HTTP/1.1 401")
                    await reader.readexactly(len("Unauthorized"))
            writer.transport.abort()

    async def test_one_connection_too_many_is_closed_at_once(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_CONNECTIONS", 3)
        async with serving(parent) as served:
            open_ones = [await served.connect() for _ in range(3)]
            reader, writer = await served.connect()
            async with asyncio.timeout(5):
                assert await _answer(reader) == b""
            writer.close()
            for _, each in open_ones:
                each.transport.abort()
            await eventually_here(lambda: served.sockets() == 0, "they are gone")
            assert await _healthy(served)


async def test_a_log_comes_from_the_member(parent: Cluster) -> None:
    async with serving(parent) as served, served.session(served.tls(served.apiserver)) as session:
        async with session.get(f"/containerLogs/{_POD}/app?tailLines=0&follow=true") as response:
            assert (response.status, await response.read()) == (200, LOG)
        (asked,) = served.member.asked
        assert asked.path == "/api/v1/namespaces/shop/pods/web-1/log"
        assert asked.query == {"tailLines": "0", "follow": "true", "container": "app"}


def presented(writer: asyncio.StreamWriter) -> x509.Certificate:
    return x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))


def serving_certificate(parent: Cluster, directory: Path) -> tuple[str, str]:
    """A kubelet's, for another node, signed by the parent."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
        x509.NameAttribute(NameOID.COMMON_NAME, "system:node:other"),
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    san = x509.SubjectAlternativeName([x509.DNSName("other")])
    request = builder.add_extension(san, critical=False).sign(key, hashes.SHA256())
    pem = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    usages = ["digital signature", "server auth"]
    spec = {"request": pem, "signerName": "kubernetes.io/kubelet-serving", "usages": usages}
    name = parent.create(CSRS, {"metadata": {"generateName": "other-"}, "spec": spec})["metadata"]["name"]
    condition = {"type": "Approved", "status": "True", "reason": "Test", "message": "test"}
    parent.patch(CSRS, name, {"status": {"conditions": [condition]}}, subresource="approval")
    certificate = eventually(
        lambda: parent.get(CSRS, name).get("status", {}).get("certificate", ""), "the certificate is signed"
    )
    files = directory / "serving.crt", directory / "serving.key"
    files[0].write_bytes(base64.b64decode(certificate))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return str(files[0]), str(files[1])


async def _healthy(served: Served) -> bool:
    async with served.session(served.tls(served.apiserver)) as session, session.get("/healthz") as response:
        return response.status == 200


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server has nothing more to say, or ends the connection."""
    answer = b""
    try:
        async with asyncio.timeout(1):
            while chunk := await reader.read(1 << 16):
                answer += chunk
    except (TimeoutError, ConnectionError, ssl.SSLError):
        pass
    return answer


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, however it does."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def _drip(writer: asyncio.StreamWriter, drop: bytes) -> None:
    while True:
        await asyncio.sleep(0.05)
        writer.write(drop)
