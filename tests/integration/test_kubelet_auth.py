"""Authentication and authorization: the kubelet API answers only clients that the parent knows and permits."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
import trustme

from tests.cluster import BINDINGS, CLUSTER_ROLES, Cluster
from tests.integration.client_certificates import refused_in_the_handshake, serving_certificate, stored
from tests.integration.kubelet_routes import EVERY_RIGHT, ROUTES, statuses
from tests.integration.serving import LOG, NODE, POD, serving
from tests.waiting import eventually
from vk_provider.kube.resources import SERVICE_ACCOUNTS
from vk_provider.kubelet.auth import SUBJECT_ACCESS_REVIEWS


def expected(rights: set[str]) -> dict[str, int]:
    return {f"{route.method} {route.path}": route.status if rights & set(route.rights) else 403 for route in ROUTES}


def everything(code: int) -> dict[str, int]:
    return {f"{route.method} {route.path}": code for route in ROUTES}


def account(parent: Cluster, rights: set[str], name: str = "") -> str:
    """The token of a new service account with these permissions on nodes, once the authorizer grants them."""
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


class TestAccess:
    async def test_requests_without_credentials_are_unauthorized(self, parent: Cluster) -> None:
        async with serving(parent) as served:
            assert await statuses(served) == everything(401)
            assert served.member.asked == []

    @pytest.mark.parametrize("token", ["garbage", "a.b.c", "x" * 5000])
    async def test_requests_with_an_unknown_token_are_unauthorized(self, parent: Cluster, token: str) -> None:
        async with serving(parent) as served:
            assert await statuses(served, token=token) == everything(401)
            assert served.member.asked == []

    @pytest.mark.parametrize("scheme", ["Basic", "bearer:", "Bearer", "Token", ""])
    async def test_requests_with_another_authorization_scheme_are_unauthorized(
        self, parent: Cluster, scheme: str
    ) -> None:
        async with serving(parent) as served, served.session() as session:
            async with session.get("/healthz", headers={"Authorization": f"{scheme} "}) as response:
                assert response.status == 401

    async def test_requests_with_a_token_without_permissions_are_forbidden(self, parent: Cluster) -> None:
        token = account(parent, set())
        async with serving(parent) as served:
            assert await statuses(served, token=token) == everything(403)
            assert served.member.asked == []

    @pytest.mark.parametrize(
        "right", ["get proxy", "create proxy", "get metrics", "get stats", "get log", "get pods", "create checkpoint"]
    )
    async def test_a_permission_grants_access_to_its_routes_only(self, parent: Cluster, right: str) -> None:
        token = account(parent, {right})
        async with serving(parent) as served:
            assert await statuses(served, token=token) == expected({right})

    async def test_the_certificate_of_the_parents_api_server_grants_access(self, parent: Cluster) -> None:
        async with serving(parent) as served:
            assert await statuses(served, tls=served.tls(served.apiserver)) == expected(set(EVERY_RIGHT))

    async def test_a_valid_certificate_takes_precedence_over_an_invalid_token(self, parent: Cluster) -> None:
        async with serving(parent) as served, served.session(served.tls(served.apiserver), token="garbage") as session:
            async with session.get("/healthz") as response:
                assert (response.status, await response.read()) == (200, b"ok")

    async def test_a_certificate_of_another_ca_fails_in_the_handshake(self, parent: Cluster, tmp_path: Path) -> None:
        issued = trustme.CA().issue_cert(common_name="system:admin", organization_name="system:masters")
        async with serving(parent) as served:
            assert await refused_in_the_handshake(served, stored(tmp_path, issued))

    async def test_a_self_signed_certificate_fails_in_the_handshake(self, parent: Cluster, tmp_path: Path) -> None:
        ca = trustme.CA(organization_name="system:masters")
        key = tmp_path / "key"
        certificate = tmp_path / "certificate"
        ca.private_key_pem.write_to_path(key)
        ca.cert_pem.write_to_path(certificate)
        async with serving(parent) as served:
            assert await refused_in_the_handshake(served, (str(certificate), str(key)))

    async def test_a_serving_certificate_of_the_clients_ca_fails_in_the_handshake(
        self, parent: Cluster, tmp_path: Path
    ) -> None:
        """Every kubelet has such a certificate. It is valid only for serving."""
        async with serving(parent) as served:
            assert await refused_in_the_handshake(served, serving_certificate(parent, tmp_path))

    async def test_a_revoked_permission_ends_when_the_cached_review_expires(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vk_provider.kubelet.auth.ALLOWED_SECONDS", 0.1)
        name = f"revoked-{uuid.uuid4().hex[:8]}"
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

    async def test_one_review_by_the_parent_serves_many_requests(self, parent: Cluster) -> None:
        token = account(parent, {"get healthz"})
        async with serving(parent) as served, served.session(token=token) as session:
            position = parent.audit_position()

            async def ask() -> int:
                async with session.get("/healthz") as response:
                    return response.status

            assert set(await asyncio.gather(*(ask() for _ in range(30)))) == {200}
            asked = [request.resource for request in parent.requests(position)]
            assert (asked.count("tokenreviews"), asked.count("subjectaccessreviews")) == (1, 1)

    async def test_access_is_denied_if_the_parent_does_not_answer(
        self, parent: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(parent) as served, served.session(token="anything") as session:
            monkeypatch.setattr(served.to_parent.credentials, "server", "https://127.0.0.1:1", raising=False)
            async with session.get("/pods") as response:
                assert (response.status, b"items" in await response.read()) == (503, False)


async def test_a_log_is_read_from_the_member(parent: Cluster) -> None:
    async with serving(parent) as served, served.session(served.tls(served.apiserver)) as session:
        async with session.get(f"/containerLogs/{POD}/app?tailLines=0&follow=true") as response:
            assert (response.status, await response.read()) == (200, LOG)
        (asked,) = served.member.asked
        assert asked.path == "/api/v1/namespaces/shop/pods/web-1/log"
        assert asked.query == {"tailLines": "0", "follow": "true", "container": "app"}
