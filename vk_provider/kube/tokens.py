"""Tokens of service accounts, bound to a pod: they are worth nothing once it is gone.

(https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/)
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata
from vk_provider.kube.resources import SERVICE_ACCOUNTS


class Token(msgspec.Struct, rename="camel"):
    """A token, and when it ends."""

    token: str
    expiration_timestamp: datetime


class _Answer(msgspec.Struct):
    status: Token


async def request_token(client: Client, account: str, pod: Metadata, *, audience: str, seconds: int) -> Token:
    """A token of the pod's namespace's `account`; an empty audience is the API server's own. Raises NotFoundError where
    there is no such account.
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
