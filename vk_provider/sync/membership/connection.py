"""How a member's API server is reached: by the kubeconfig in a Secret of the parent. The only place that decides it.

`run` watches the Secret, and ends with ReconnectError: another kubeconfig needs another connection. So does a
permission that was missing, once it is granted: what was not started without it is started then.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from types import TracebackType
from typing import Final

from vk_provider.api.membercluster import SecretRef
from vk_provider.errors import ConfigError, NotFoundError, VkError
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Payload
from vk_provider.kube.resources import SECRETS
from vk_provider.sync.membership.access import Facts, examine, identify, review
from vk_provider.translate.state.rights import Rights

_LOOK_FOR_RIGHTS: Final = 60.0  # seconds between looks whether a missing permission is granted


class ReconnectError(Exception):
    """Connect again: the Secret holds another kubeconfig, or the credential has other permissions."""


class Connection:
    """A member's API server, as an async context manager; `client` and `facts` are valid inside."""

    client: Client
    facts: Facts

    def __init__(self, parent: Client, reference: SecretRef) -> None:
        self._parent, self._reference = parent, reference
        self._read = ""  # the kubeconfig that was read, as the Secret holds it: base64

    async def __aenter__(self) -> Connection:
        """Raises ConfigError or UnreachableError with the cause."""
        self.client = await self._open()
        try:
            self.facts = await examine(self.client)
        except BaseException:
            await self.client.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()

    @property
    def rights(self) -> Rights:
        """What the credential may do in the member."""
        return self.facts.rights

    async def probe(self, member: str, *, deadline: float) -> None:
        """Asks for a sign of life, `deadline` in seconds. Raises as `identify`."""
        await identify(self.client, self.facts.cluster_uid, member=member, deadline=deadline)

    async def _open(self) -> Client:
        name, namespace, key = self._reference.name, self._reference.namespace, self._reference.key
        source = f"secret {namespace}/{name}"
        try:
            secret = await self._parent.get(SECRETS, name, namespace, type=Payload)
            self._read = secret.data[key]
            content = base64.b64decode(self._read)
        except NotFoundError as error:
            raise ConfigError(f"{source} does not exist", reason="SecretNotFound") from error
        except KeyError as error:
            raise ConfigError(f"{source} has no key {key}", reason="SecretNotFound") from error
        except binascii.Error as error:
            raise ConfigError(f"{source}: key {key} is not base64", reason="KubeconfigInvalid") from error
        return Client(Kubeconfig.from_secret(content, source).credentials())

    async def run(self) -> None:
        """Raises ReconnectError once the Secret holds another kubeconfig, or a missing permission is granted."""
        changed = asyncio.Event()

        def look(_before: Payload | None, after: Payload | None) -> None:
            if after is not None and after.data.get(self._reference.key) != self._read:
                changed.set()

        informer: Informer[Payload] = Informer(
            self._parent,
            SECRETS,
            Payload,
            namespace=self._reference.namespace,
            fields=f"metadata.name={self._reference.name}",
        )
        informer.on_change(look)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            group.create_task(self._look_for_rights(changed))
            await changed.wait()
            raise ReconnectError

    async def _look_for_rights(self, changed: asyncio.Event) -> None:
        """Sets the event when the permissions are others than they were. Ends at once if none is missing."""
        while self.rights.missing:
            await asyncio.sleep(_LOOK_FOR_RIGHTS)
            try:
                if await review(self.client) != self.rights:
                    changed.set()
            except VkError:
                continue  # health probes report it
