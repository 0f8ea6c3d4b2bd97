"""Credentials of one API server that keep themselves fresh, wherever they come from (see `auth`).

Each Source owns the credential that it caches. No credential is ever logged.
"""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from vk_provider.errors import ConfigError
from vk_provider.kube import keys

_TOKEN_FILE_VALID: Final = 60.0  # seconds; the kubelet replaces bound service account tokens in their file
_EXEC_DEADLINE: Final = 60.0  # seconds; a plugin may call a cloud, and a user may have to touch a security key


class Credentials:
    """How to reach one API server and authenticate. `ssl` is updated in place when a client certificate is renewed."""

    def __init__(
        self,
        name: str,
        server: str,
        context: ssl.SSLContext,
        source: Source,
        *,
        tls_server_name: str | None = None,
        proxy: str | None = None,
    ) -> None:
        """`name` says where the credentials come from, for messages. `server` is the base URL."""
        self.name, self.server, self.ssl = name, server, context
        self.tls_server_name, self.proxy = tls_server_name, proxy
        self._source = source

    async def authorization(self) -> str | None:
        """The Authorization header, or None if the client certificate is the credential.

        Raises ConfigError if an exec plugin or a token file fails.
        """
        return await self._source.authorization(self.ssl)

    def renew(self) -> bool:
        """To be called after a 401. Whether the next `authorization` may be a different one."""
        return self._source.renew()


class Source:
    """Provides the Authorization header. Owns the cached credential."""

    async def authorization(self, context: ssl.SSLContext) -> str | None:
        raise NotImplementedError

    def renew(self) -> bool:
        return False


class Fixed(Source):
    """A token or password that never changes, or only a client certificate (None)."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    async def authorization(self, context: ssl.SSLContext) -> str | None:
        return self._value


class TokenFile(Source):
    """A token in a file that another program renews, such as the token of a pod's service account."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._stale_at = -math.inf  # monotonic seconds: if the wall clock were set back, an old token would stay

    async def authorization(self, context: ssl.SSLContext) -> str | None:
        now = time.monotonic()
        if now >= self._stale_at:
            try:
                self._token = self._path.read_text().strip()
            except OSError as error:
                raise ConfigError(f"token file {self._path}: {error.strerror}", reason="KubeconfigInvalid") from error
            self._stale_at = now + _TOKEN_FILE_VALID
        return f"Bearer {self._token}"

    def renew(self) -> bool:
        self._stale_at = -math.inf
        return True


class _ExecStatus(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    """https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins"""

    api_version: str
    kind: str
    status: _ExecStatus


class ExecPlugin(Source):
    """A program that prints an ExecCredential: a token, a client certificate, or both, until they expire."""

    def __init__(self, plugin: Mapping[str, Any], cluster: Mapping[str, Any], source: str) -> None:
        self._plugin, self._cluster, self._origin = plugin, cluster, source
        self._status: _ExecStatus | None = None
        self._lock = asyncio.Lock()

    async def authorization(self, context: ssl.SSLContext) -> str | None:
        async with self._lock:
            status = self._status
            expiry = status.expiration_timestamp if status else None
            if status is None or (expiry and expiry <= datetime.now(UTC) + timedelta(seconds=10)):
                status = self._status = await self._run()
                if status.client_certificate_data:
                    self._load_pair(context, status)
        return f"Bearer {status.token}" if status.token else None

    def renew(self) -> bool:
        self._status = None
        return True

    @property
    def _name(self) -> str:
        return f"{self._origin}: exec plugin {self._plugin.get('command')!r}"

    async def _run(self) -> _ExecStatus:
        info: dict[str, Any] = {"interactive": False}
        if self._plugin.get("provideClusterInfo"):
            info["cluster"] = dict(self._cluster)
        request = {
            "apiVersion": self._plugin.get("apiVersion"),
            "kind": "ExecCredential",
            "spec": info,
        }
        added = {entry["name"]: entry["value"] for entry in self._plugin.get("env") or []}
        env = {**os.environ, **added, "KUBERNETES_EXEC_INFO": msgspec.json.encode(request).decode()}
        argv = [str(self._plugin.get("command")), *(self._plugin.get("args") or [])]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=None
            )
            async with asyncio.timeout(_EXEC_DEADLINE):
                output, _ = await process.communicate()
        except FileNotFoundError as error:
            hint = self._plugin.get("installHint") or "install it, or use another credential"
            raise ConfigError(f"{self._name} is not installed", reason="Unauthorized", remedy=hint) from error
        except OSError as error:
            cause = f"{self._name} cannot be run: {error.strerror}"
            raise ConfigError(cause, reason="Unauthorized", remedy="check that it is an executable file") from error
        except TimeoutError as error:
            process.kill()
            raise ConfigError(
                f"{self._name} did not finish in {_EXEC_DEADLINE:.0f} s", reason="Unauthorized"
            ) from error
        if process.returncode:
            raise ConfigError(f"{self._name} failed with exit code {process.returncode}", reason="Unauthorized")
        try:
            return msgspec.json.decode(output, type=_ExecCredential).status
        except msgspec.DecodeError as error:
            raise ConfigError(f"{self._name} printed no ExecCredential: {error}", reason="Unauthorized") from error

    def _load_pair(self, context: ssl.SSLContext, status: _ExecStatus) -> None:
        try:
            keys.load_cert_chain(context, status.client_certificate_data.encode(), status.client_key_data.encode())
        except ssl.SSLError as error:
            cause = f"{self._name} printed a certificate that cannot be used"
            raise ConfigError(cause, reason="Unauthorized") from error
