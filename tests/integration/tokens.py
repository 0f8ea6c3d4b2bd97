"""Service account tokens in a member, and the provider's requests."""

from __future__ import annotations

import base64
import json
from collections import Counter

from tests.cluster import Cluster, Json
from vk_provider.api import wellknown
from vk_provider.kube.resources import SECRETS


def is_accepted(cluster: Cluster, token: str, audience: str) -> bool:
    spec = {"token": token, "audiences": [audience]}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    answer = cluster.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    return bool(answer["status"].get("authenticated"))


def only_token(secret: Json) -> str:
    (value,) = secret["data"].values()
    return base64.b64decode(value).decode()


def requests_of_provider(cluster: Cluster, since: int, namespace: str) -> Counter[tuple[str, str, str]]:
    """(verb, resource, name) -> the number of such requests of the provider in the namespace."""
    found: Counter[tuple[str, str, str]] = Counter()
    for request in cluster.requests(since):
        if request.agent == "vk-provider" and request.namespace == namespace and request.stage == "ResponseComplete":
            about = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
            found[(request.verb, about, request.name)] += 1
    return found


def count(found: Counter[tuple[str, str, str]], *resources: str) -> int:
    return sum(n for (_, resource, _), n in found.items() if resource in resources)


def token_secrets(cluster: Cluster, namespace: str) -> list[Json]:
    found = cluster.list(SECRETS, namespace, labels=f"{wellknown.NODE_LABEL}=alpha")
    return [secret for secret in found if wellknown.TOKEN_EXPIRES in secret["metadata"]["annotations"]]


def decode(token: str) -> Json:
    """The claims of a JWT. The API server verifies the signature."""
    payload = token.split(".")[1]
    claims: Json = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims
