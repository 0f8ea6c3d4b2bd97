"""The kubeconfig of a member: in a Secret of the parent, read once and watched from then on.

`run` owns the watch, and ends with KubeconfigChangedError: another kubeconfig needs another connection.
"""

from __future__ import annotations

import asyncio
import base64
import binascii

from vk_provider.api.membercluster import SecretRef
from vk_provider.errors import ConfigError, NotFoundError
from vk_provider.kube.auth import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Payload
from vk_provider.kube.resources import SECRETS


class KubeconfigChangedError(Exception):
    """The Secret holds another kubeconfig now: connect anew."""


class MemberKubeconfig:
    """See the module's text."""

    def __init__(self, parent: Client, reference: SecretRef) -> None:
        self._parent, self._reference = parent, reference
        self._read = ""  # as the Secret held it, base64

    async def client(self) -> Client:
        """A client of the member, which the caller closes. Raises ConfigError with the cause in words."""
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
        """Raises KubeconfigChangedError once the Secret holds another kubeconfig than `client` has read."""
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
            await changed.wait()
            raise KubeconfigChangedError
