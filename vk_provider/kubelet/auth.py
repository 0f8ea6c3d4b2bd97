"""Who may use the kubelet API of a virtual node: as on a kubelet with webhook authentication and authorization.

Authentication: a client certificate of the parent's client CA (verified in the handshake), or else a bearer token by
TokenReview. Authorization: SubjectAccessReview on `nodes/<subresource>` (see `routes` for the subresource). Anonymous
requests are refused, and so is every request if the parent does not answer.

Few reviews are under way at a time, over all virtual nodes of the process: a flood of tokens delays no other request
to the parent. It cannot displace the answers about clients that are known, either.
(https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/)
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec
from aiohttp import web

from vk_provider.errors import VkError
from vk_provider.kube.client import Client
from vk_provider.kube.resources import Resource
from vk_provider.kubelet.connections import TOKEN, Bounds, client_certificate

TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)

TOKEN_SECONDS: Final = 120.0
ALLOWED_SECONDS: Final = 300.0
DENIED_SECONDS: Final = 30.0
_TOKEN_BYTES: Final = 16 << 10  # longer ones are refused without a review


class User(msgspec.Struct, frozen=True):
    """The user of a request, as the parent's authorizers know it."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = {}


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: User = User()


class _TokenReview(msgspec.Struct):
    status: _TokenStatus = msgspec.field(default_factory=_TokenStatus)


class _AccessStatus(msgspec.Struct):
    allowed: bool = False
    reason: str = ""


class _AccessReview(msgspec.Struct):
    status: _AccessStatus = msgspec.field(default_factory=_AccessStatus)


@dataclass(frozen=True)
class Permission:
    """`verb` on any one of these subresources of the node."""

    verb: str
    subresources: tuple[str, ...]


V = TypeVar("V")


@dataclass(frozen=True)
class _Answer(Generic[V]):
    value: V
    seconds: float  # for which it is valid
    good: bool  # it lets a client in


class _Cache(Generic[V]):
    """Answers that are valid for a time. Concurrent requests for the same key share one answer.

    A full cache drops what has expired, then what is not good, then the oldest: a client that is refused again and
    again never displaces one that is let in.
    """

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._known: dict[bytes, tuple[float, _Answer[V]]] = {}  # with the loop time of its end
        self._asking: dict[bytes, asyncio.Lock] = {}

    async def get(self, key: bytes, ask: Callable[[], Awaitable[_Answer[V]]]) -> V:
        """The cached answer, or that of `ask`."""
        async with self._asking.setdefault(key, asyncio.Lock()):
            try:
                now = asyncio.get_running_loop().time()
                known = self._known.get(key)
                if known is not None and known[0] > now:
                    return known[1].value
                answer = await ask()
                self._make_room(now)
                self._known[key] = (now + answer.seconds, answer)
                return answer.value
            finally:
                self._asking.pop(key, None)

    def _make_room(self, now: float) -> None:
        if len(self._known) >= self._size:
            self._known = {key: entry for key, entry in self._known.items() if entry[0] > now}
        if len(self._known) >= self._size:
            self._known = {key: entry for key, entry in self._known.items() if entry[1].good}
        if len(self._known) >= self._size:
            del self._known[next(iter(self._known))]


class Gate:
    """Authenticates and authorizes requests. One per virtual node."""

    def __init__(self, parent: Client, node: str, bounds: Bounds, refused: Counter[str]) -> None:
        """`refused` counts tokens that are refused without a review."""
        self._parent, self._node = parent, node
        self._bounds, self._refused = bounds, refused
        self._tokens: _Cache[User | None] = _Cache()
        self._decisions: _Cache[tuple[bool, str]] = _Cache()

    async def check(self, request: web.Request, needed: Permission) -> None:
        """Returns if the user of the request has that permission.

        Raises the HTTP error 401 or 403, or 503 if the parent does not answer.
        """
        user = await self._user(request)
        if user is None:
            raise web.HTTPUnauthorized(text="Unauthorized")
        reason = ""
        for subresource in needed.subresources:
            allowed, reason = await self._allowed(user, needed.verb, subresource)
            if allowed:
                return
        what = f"verb={needed.verb}, resource=nodes, subresource(s)={list(needed.subresources)}"
        raise web.HTTPForbidden(text=f"Forbidden (user={user.username}, {what})" + (f": {reason}" if reason else ""))

    async def _user(self, request: web.Request) -> User | None:
        transport = request.transport
        if transport is not None and (certificate := client_certificate(transport)):
            return _certified(certificate)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        if len(token) > _TOKEN_BYTES or not token.isascii():
            self._refused[TOKEN] += 1
            return None
        key = hashlib.sha256(token.encode()).digest()
        return await self._tokens.get(key, lambda: self._review(token))

    async def _review(self, token: str) -> _Answer[User | None]:
        body = {"apiVersion": TOKEN_REVIEWS.api_version, "kind": TOKEN_REVIEWS.kind, "spec": {"token": token}}
        try:
            async with self._bounds.token_reviews:
                status = (await self._parent.create(TOKEN_REVIEWS, body, type=_TokenReview)).status
        except VkError as error:
            raise web.HTTPServiceUnavailable(text="the parent cannot check the token now") from error
        if not status.authenticated:
            return _Answer(None, DENIED_SECONDS, good=False)
        return _Answer(status.user, TOKEN_SECONDS, good=True)

    async def _allowed(self, user: User, verb: str, subresource: str) -> tuple[bool, str]:
        key = hashlib.sha256(msgspec.json.encode([user, verb, subresource], order="sorted")).digest()
        return await self._decisions.get(key, lambda: self._decide(user, verb, subresource))

    async def _decide(self, user: User, verb: str, subresource: str) -> _Answer[tuple[bool, str]]:
        attributes = {
            "verb": verb,
            "resource": "nodes",
            "subresource": subresource,
            "name": self._node,
            "version": "v1",
        }
        body: dict[str, Any] = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "spec": {
                "resourceAttributes": attributes,
                "user": user.username,
                "uid": user.uid,
                "groups": list(user.groups),
                "extra": user.extra,
            },
        }
        try:
            async with self._bounds.access_reviews:
                status = (await self._parent.create(SUBJECT_ACCESS_REVIEWS, body, type=_AccessReview)).status
        except VkError as error:
            raise web.HTTPServiceUnavailable(text="the parent cannot authorize the request now") from error
        seconds = ALLOWED_SECONDS if status.allowed else DENIED_SECONDS
        return _Answer((status.allowed, status.reason), seconds, good=status.allowed)


def _certified(certificate: dict[str, Any]) -> User | None:
    """The common name is the user, and the organizations are its groups."""
    subject = [pair for attributes in certificate.get("subject", ()) for pair in attributes]
    name = next((value for key, value in subject if key == "commonName"), "")
    groups = tuple(value for key, value in subject if key == "organizationName")
    return User(username=name, groups=(*groups, "system:authenticated")) if name else None
