"""The provider's account in a member: its token, its permissions, and the address in its kubeconfig."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import yaml

from tests import members
from tests.cluster import BINDINGS, CLUSTER_ROLES, MERGE, Cluster, Json
from tests.link import Link
from vk_provider.kube.resources import SECRETS, SERVICE_ACCOUNTS

_ROLE: Final = "vk-provider-member"
_ACCOUNT: Final = "vk-provider"
_OPTIONAL: Final = frozenset({"events", "leases", "pods/resize", "services"})  # features that the provider can miss
_MANIFEST: Final = Path(__file__).resolve().parents[2] / "manifests" / "member" / "rbac.yaml"


class Account:
    """Each token is bound to a Secret, and is valid as long as that exists: its deletion ends it, as time would. (API
    servers remember valid tokens for 10 s.) Raises ApiFailure if the parent or the member does not answer.
    """

    def __init__(self, member: Cluster, parent: Cluster, link: Link) -> None:
        self._member, self._parent, self._link = member, parent, link
        self._number, self._token, self._server = 0, "", "link"

    def issue_token(self) -> str:
        """A kubeconfig with a new token."""
        number = self._number + 1
        name = self._secret(number)
        self._member.delete(SECRETS, name, members.SYSTEM)  # of an attempt that failed
        self._member.create(SECRETS, {"metadata": {"name": name}}, members.SYSTEM)
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "expirationSeconds": 7200,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": name},
            },
        }
        path = SERVICE_ACCOUNTS.path(_ACCOUNT, members.SYSTEM, "token")
        self._token = self._member.call("POST", path, body)["status"]["token"]
        self._number = number
        return self._kubeconfig()

    def replace_token(self) -> None:
        old = self._number
        self.issue_token()
        self.publish()
        self._member.delete(SECRETS, self._secret(old), members.SYSTEM)

    def expire_token(self) -> None:
        self._member.delete(SECRETS, self._secret(self._number), members.SYSTEM)

    def move(self, server: str) -> None:
        """`server`: "link", or "direct" for the address of the API server itself."""
        self._server = server
        self.publish()

    def publish(self) -> None:
        """Writes the kubeconfig into its Secret in the parent."""
        members.set_kubeconfig(self._parent, self._member.name, self._kubeconfig())

    def withdraw_permissions(self) -> None:
        self._member.delete(BINDINGS, _ROLE)

    def withdraw_optional_permissions(self) -> None:
        rules = [
            {**rule, "resources": [each for each in rule["resources"] if each not in _OPTIONAL]} for rule in _rules()
        ]
        self._set_rules([rule for rule in rules if rule["resources"]])

    def grant_permissions(self) -> None:
        members.grant(self._member)
        self._set_rules(_rules())

    def _set_rules(self, rules: list[Json]) -> None:
        self._member.patch(CLUSTER_ROLES, _ROLE, {"rules": rules}, content_type=MERGE)

    def _secret(self, number: int) -> str:
        return f"token-{number}"

    def _kubeconfig(self) -> str:
        content: Json = json.loads(members.kubeconfig(self._member, token=self._token))
        return json.dumps(self._link.through(content) if self._server == "link" else content)


def _rules() -> list[Json]:
    (role,) = (
        each
        for each in yaml.safe_load_all(_MANIFEST.read_text())
        if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", _ROLE)
    )
    rules: list[Json] = role["rules"]
    return rules
