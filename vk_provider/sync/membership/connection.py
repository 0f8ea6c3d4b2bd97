"""How a member's API server is reached: by the kubeconfig in a Secret of the parent. The only place that decides it.

    Secret --watched--> usable? --no--> `problem`: the member is refused until there is a credential again
                           | another credential for the same server: a probe with it has to meet the same cluster
                           v
    connect --> client, facts --> the credential is replaced in place: nothing is listed again, open streams go on

`run` ends with ReconnectError if the Secret holds another server, and if the credential has other permissions: parts
that were not started without them are started then.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

import msgspec

from vk_provider.api.membercluster import SecretRef
from vk_provider.errors import ConfigError, ForbiddenError, RefusedError, VkError
from vk_provider.kube.auth.credentials import Credentials
from vk_provider.kube.auth.expiry import Validity, validity
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Payload
from vk_provider.kube.resources import SECRETS
from vk_provider.observable import Observable
from vk_provider.sync.membership.access import Facts, examine, identify, read_version, review
from vk_provider.translate.state.rights import Rights

log = logging.getLogger(__name__)

_LOOK_FOR_RIGHTS: Final = 60.0  # seconds between looks whether a missing permission is granted
_LOOK_AT_VERSION: Final = 60.0  # seconds between looks at the version of the member
_LOOK_AGAIN: Final = 10.0  # seconds until a new credential that could not be used is tried again
_LOOK_FIRST: Final = 1.0  # seconds between looks whether the Secret can be read
_FIRST_PROBE: Final = 10.0  # seconds: deadline of the probe with a new credential


class ReconnectError(Exception):
    """Connect again: the Secret holds another server, or the credential has other permissions."""


class Connection:
    """A member's API server, as an async context manager. `run` must run for as long as it is used."""

    facts: Facts  # once it is connected

    def __init__(self, parent: Client, reference: SecretRef, member: str, cluster_uid: str) -> None:
        """`member`: name of the MemberCluster. `cluster_uid`: that of the cluster that was joined; empty if unknown."""
        self._reference, self._member, self._cluster_uid = reference, member, cluster_uid
        self._secret: Informer[Payload] = Informer(
            parent, SECRETS, Payload, namespace=reference.namespace, fields=f"metadata.name={reference.name}"
        )
        self._client: Client | None = None
        self._content = ""  # the kubeconfig that is in use, as the Secret holds it: base64
        self._read = asyncio.Event()  # the Secret was looked at once
        self._connected = False
        self._refusal: RefusedError | None = None  # why the last attempt to connect was refused
        self._retry = False  # the Secret has a credential that could not be tried yet
        self.problem: RefusedError | None = None  # why the Secret has no usable credential now
        self.optional: Sequence[Informer[Any]] = ()  # lists that the permissions are looked at for when one is refused
        self.validity: Observable[Validity | None] = Observable(None)  # of the credential in use
        self.version = Observable("")  # of the member's API server, once it is connected
        self.changed = asyncio.Event()  # there is another credential, or none: an attempt may have another result now

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def client(self) -> Client:
        """The member's API server. Must be connected. It stays the same object when the credential is replaced."""
        assert self._client is not None
        return self._client

    @property
    def rights(self) -> Rights:
        """What the credential may do in the member. Must be connected."""
        return self.facts.rights

    @property
    def last_sign_of_life(self) -> float:
        """Loop time of the last answer, or bytes of a watch; 0 if there was none."""
        return self._client.last_sign_of_life if self._client is not None else 0.0

    def end_watches(self) -> None:
        """See Client."""
        if self._client is not None:
            self._client.end_watches()

    async def connect(self, places: asyncio.Semaphore) -> Facts:
        """What the member is. `places`: for members whose permissions are examined at the same time.

        Raises RefusedError if there is no usable credential, and the errors of `examine`.
        """
        await self._first_read()
        if self._client is None:
            raise self.problem or RefusedError("no credential")
        try:
            self.facts = await examine(self._client, places)
        except VkError as error:
            self._refusal = error if isinstance(error, RefusedError) else None
            raise
        self._cluster_uid, self._connected, self._refusal = self.facts.cluster_uid, True, None
        self.version.set(self.facts.version)
        return self.facts

    async def probe(self, *, deadline: float) -> None:
        """Asks for a sign of life, `deadline` in seconds. Raises as `identify`, and RefusedError if the Secret has no
        usable credential: one that is still in memory is used for as long as this process lives, and no longer.
        """
        await self._first_read()
        if self._client is not None:
            await identify(self._client.urgent, self._cluster_uid, member=self._member, deadline=deadline)
        if problem := self.problem or self._refusal:
            raise problem

    async def _first_read(self) -> None:
        """Returns once the Secret was looked at. Raises RefusedError if the parent does not let it be read."""
        while not self._read.is_set():
            if self._secret.failure is not None:
                source = f"secret {self._reference.namespace}/{self._reference.name}"
                cause = f"the parent does not show {source}: {self._secret.failure[1]}"
                raise RefusedError(cause, reason="SecretNotRead", remedy="let the provider list and watch it")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_FIRST):
                    await self._read.wait()

    async def run(self) -> None:
        """Follows the Secret until cancelled. Raises ReconnectError."""
        look = asyncio.Event()
        self._secret.on_change(lambda _before, _after: look.set())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._secret.run())
            group.create_task(self._follow_rights())
            group.create_task(self._follow_version())
            await self._secret.synced.wait()
            while True:
                look.clear()
                await self._look()
                self._read.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN if self._retry else None):
                        await look.wait()

    async def _look(self) -> None:
        """Applies what the Secret holds now."""
        name = f"{self._reference.namespace}/{self._reference.name}"
        secret, problem = self._secret.items.get(name), None
        self._retry = False
        try:
            content = self._kubeconfig(secret, f"secret {name}")
            if content != self._content:
                kubeconfig = _decoded(content, f"secret {name}")
                await self._apply(_credentials(kubeconfig))
                self._content = content
                self.validity.set(validity(kubeconfig))
        except RefusedError as error:
            problem, self._retry = error, error.answered
        except VkError as error:
            # The credential in use, if there is one, decides about the health of a member that does not answer.
            self._retry = True
            if error.reason == "CertificateInvalid":
                problem = RefusedError(error.message, reason=error.reason, remedy=error.remedy)
            log.info("new credential not used yet", extra={"member": self._member, "error": str(error)})
        if str(problem) != str(self.problem):
            level = logging.WARNING if problem is not None else logging.INFO
            log.log(level, "credential", extra={"member": self._member, "problem": str(problem or "none")})
        self.problem = problem
        self.changed.set()

    def _kubeconfig(self, secret: Payload | None, source: str) -> str:
        """The kubeconfig, in base64. Raises RefusedError if there is none."""
        if secret is not None and (content := secret.data.get(self._reference.key)):
            return content
        what = f"has no key {self._reference.key}" if secret is not None else "does not exist"
        raise RefusedError(
            f"{source} {what}",
            reason="SecretNotFound",
            remedy=f"join the member again: vk-provider join {self._member}",
        )

    async def _apply(self, credentials: Credentials) -> None:
        """Uses another credential, if it leads to the same cluster. Raises ReconnectError if only another connection
        can find out, and the errors of `identify`.
        """
        if self._client is None:
            self._client = Client(credentials)
            return
        if credentials.server != self._client.server:
            raise ReconnectError
        if self._connected:
            async with Client(credentials) as fresh:
                try:
                    await identify(fresh, self._cluster_uid, member=self._member, deadline=_FIRST_PROBE)
                except RefusedError:
                    raise
                except ConfigError as error:  # another cluster
                    raise ReconnectError from error
                if await review(fresh) != self.rights:
                    raise ReconnectError
        await self._client.use(credentials)
        log.info("credential replaced", extra={"member": self._member})

    async def _follow_version(self) -> None:
        """Keeps the version current: a member may be upgraded while it is served."""
        while True:
            await asyncio.sleep(_LOOK_AT_VERSION)
            if self._client is None or not self._connected:
                continue
            try:
                found = await read_version(self._client)
            except (VkError, msgspec.DecodeError):
                continue  # the probes of its health report that it does not answer
            if found != self.version.value:
                log.info("the member has another version", extra={"member": self._member, "version": found})
                self.version.set(found)

    async def _follow_rights(self) -> None:
        """Raises ReconnectError when a missing permission is granted, or one that only a feature needs is withdrawn."""
        while True:
            await asyncio.sleep(_LOOK_FOR_RIGHTS)
            if not self._connected or not (self.rights.missing or any(map(_is_refused, self.optional))):
                continue
            with contextlib.suppress(VkError):  # health probes report it
                rights = await review(self.client)
                if rights != self.rights and not rights.missing_essential:
                    raise ReconnectError


def _is_refused(informer: Informer[Any]) -> bool:
    return informer.failure is not None and isinstance(informer.failure[1], ForbiddenError)


def _decoded(content: str, source: str) -> Kubeconfig:
    """A kubeconfig in base64. Raises RefusedError."""
    try:
        return Kubeconfig.from_secret(base64.b64decode(content), source)
    except ConfigError as error:
        raise RefusedError(error.message, reason=error.reason, remedy=error.remedy) from error
    except binascii.Error as error:
        raise RefusedError(f"{source}: the kubeconfig is not base64", reason="KubeconfigInvalid") from error


def _credentials(kubeconfig: Kubeconfig) -> Credentials:
    """Raises RefusedError."""
    try:
        return kubeconfig.credentials()
    except ConfigError as error:
        raise RefusedError(error.message, reason=error.reason, remedy=error.remedy) from error
