"""Tokens of service accounts that are bound to a pod: they are invalid once the pod is gone.

(https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/)
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata
from vk_provider.kube.resources import SERVICE_ACCOUNTS


class Token(msgspec.Struct, rename="camel"):
    """A token, and when it expires."""

    token: str
    expiration_timestamp: datetime


class _Answer(msgspec.Struct):
    status: Token


async def request_token(client: Client, account: str, pod: Metadata, *, audience: str, seconds: int) -> Token:
    """A token of service account `account` in the pod's namespace. An empty audience means that of the API server.

    Raises NotFoundError if the account does not exist.
    """
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": [audience] if audience else [],
            "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid},
        },
    }
    answer = await client.create(SERVICE_ACCOUNTS, body, pod.namespace, type=_Answer, name=account, subresource="token")
    return answer.status
