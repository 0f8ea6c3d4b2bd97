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
_EXEC_EVERY: Final = 10.0  # seconds between two runs of a plugin: some call a cloud that limits requests
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

    @property
    def serial(self) -> int:
        """The number of the current credential, to tell `renew` which one was used."""
        return self._source.serial

    @property
    def certificates(self) -> int:
        """How many client certificates there have been. Connections keep the one of their handshake."""
        return self._source.certificates

    def renew(self, used: int) -> bool:
        """To be called after a 401 for the credential with the number `used`.

        Whether the next `authorization` may be a different one.
        """
        return self._source.renew(used)


class Source:
    """Provides the Authorization header. Owns the cached credential."""

    serial = 0
    certificates = 0

    async def authorization(self, context: ssl.SSLContext) -> str | None:
        raise NotImplementedError

    def renew(self, used: int) -> bool:
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

    def renew(self, used: int) -> bool:
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
    """A program that prints an ExecCredential: a token, a client certificate, or both, until they expire.

    It runs at most every ten seconds, however often its credential is refused or it fails.
    """

    def __init__(self, plugin: Mapping[str, Any], cluster: Mapping[str, Any], source: str) -> None:
        self._plugin, self._cluster, self._origin = plugin, cluster, source
        self._status: _ExecStatus | None = None
        self._error: ConfigError | None = None  # of the last run
        self._next_run = -math.inf  # monotonic seconds
        self._pair = ("", "")  # certificate and key that were loaded last
        self._lock = asyncio.Lock()

    async def authorization(self, context: ssl.SSLContext) -> str | None:
        async with self._lock:
            if self._due:
                await self._renew(context)
            if self._error is not None:
                raise ConfigError(self._error.message, reason=self._error.reason, remedy=self._error.remedy)
            return f"Bearer {self._status.token}" if self._status and self._status.token else None

    def renew(self, used: int) -> bool:
        if used == self.serial:
            if time.monotonic() < self._next_run:
                return False
            self._status = None
        return True

    @property
    def _due(self) -> bool:
        if time.monotonic() < self._next_run:
            return False
        expiry = self._status.expiration_timestamp if self._status else None
        return self._status is None or bool(expiry and expiry <= datetime.now(UTC) + timedelta(seconds=10))

    async def _renew(self, context: ssl.SSLContext) -> None:
        self._status, self._error = None, None
        try:
            status = await self._run()
            pair = status.client_certificate_data, status.client_key_data
            if pair[0] and pair != self._pair:
                self._load_pair(context, status)
                self._pair = pair
                self.certificates += 1
        except ConfigError as error:
            self._error = error
        else:
            self._status = status
            self.serial += 1
        self._next_run = time.monotonic() + _EXEC_EVERY

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
