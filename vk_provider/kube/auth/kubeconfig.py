"""Where credentials come from: kubeconfig files, kubeconfigs in Secrets, and the pod that this process runs in.

The official client could parse kubeconfigs as well, but importing it costs 22 MiB of memory and a second of start-up,
and it does less: it only logs when an exec plugin fails, and it leaves private keys in files until the process exits.
No credential is ever logged.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from vk_provider.errors import ConfigError
from vk_provider.kube import keys
from vk_provider.kube.auth import documents
from vk_provider.kube.auth.credentials import Credentials, ExecPlugin, Fixed, Source, TokenFile
from vk_provider.kube.auth.documents import Document, Entry, invalid
from vk_provider.kube.http.proxy import proxy_for

IN_CLUSTER: Final = "in-cluster"  # name of the credentials of the pod that this process runs in
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_INLINE: Final = {  # section of a kubeconfig: its fields that name files, and those with the content as base64
    "clusters": {"certificate-authority": "certificate-authority-data"},
    "users": {"client-certificate": "client-certificate-data", "client-key": "client-key-data"},
}
_PORTABLE: Final = "use the token of a ServiceAccount of the member, or a client certificate"


@dataclass(frozen=True)
class Kubeconfig:
    """One context of a kubeconfig, with inline certificates. `source` says where it comes from, for messages."""

    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)  # holds secrets
    context: str
    source: str

    @classmethod
    def from_files(cls, path: str | None = None, context: str | None = None) -> Kubeconfig:
        """Reads as kubectl does: `path`, else $KUBECONFIG (several files are merged), else ~/.kube/config.

        Raises ConfigError: no file, not a kubeconfig, no such context, or a file that it names cannot be read.
        """
        source = path or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        files = [Path(part).expanduser() for part in ([path] if path else source.split(os.pathsep)) if part]
        if not any(file.exists() for file in files):
            raise invalid(f"kubeconfig {source}", "no such file")
        document = documents.read(files, source)
        name = context or document.current_context
        if not name:
            raise invalid(document.source, "current-context is not set", "pass --context")
        return cls._select(document, name, files_allowed=True)

    @classmethod
    def from_secret(cls, data: bytes, source: str) -> Kubeconfig:
        """Reads the kubeconfig of a member. It is not trusted: it must not name files or programs of this machine.

        Raises ConfigError: not a kubeconfig, or one that needs a file or a plugin of this machine.
        """
        document = documents.parse(data, source)
        selected = cls._select(document, document.current_context, files_allowed=False)
        if "exec" in selected.user:
            command = selected.user["exec"].get("command")
            raise invalid(source, f"uses the exec plugin {command!r}, which is not run for a member", _PORTABLE)
        return selected

    @classmethod
    def _select(cls, document: Document, context: str, *, files_allowed: bool) -> Kubeconfig:
        source = document.source
        chosen = document.find("contexts", context).content
        cluster_entry = document.find("clusters", str(chosen.get("cluster", "")))
        user_entry = document.find("users", str(chosen.get("user", "")))
        cluster = _inlined("clusters", cluster_entry, source, allowed=files_allowed)
        user = _inlined("users", user_entry, source, allowed=files_allowed)
        if not cluster.get("server"):
            raise invalid(source, f"context {context} names no server")
        if "@" in cluster["server"].partition("://")[2].partition("/")[0]:  # messages and logs show the server
            remedy = "use a token, a client certificate or an exec plugin"
            raise invalid(source, f"the server of context {context} contains a user or a password", remedy)
        _check_user(user, source)
        if "tokenFile" in user:
            token = _read(user["tokenFile"], user_entry.folder, source, "tokenFile", allowed=files_allowed)
            user["tokenFile"] = str(_resolve(user["tokenFile"], user_entry.folder))
            user["token"] = token.decode(errors="replace").strip()
        return cls(cluster=cluster, user=user, context=context, source=source)

    def self_contained(self) -> bytes:
        """The kubeconfig as YAML that works on any machine, for a Secret.

        Raises ConfigError if the credential is an exec plugin or a token file.
        """
        for key, what in (("exec", "an exec plugin"), ("tokenFile", "a token file")):
            if key in self.user:
                problem = f"context {self.context} authenticates by {what} of this machine"
                raise invalid(self.source, problem, _PORTABLE)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": dict(self.cluster)}],
            "users": [{"name": "user", "user": dict(self.user)}],
            "contexts": [{"name": self.context, "context": {"cluster": "cluster", "user": "user"}}],
            "current-context": self.context,
        }
        return yaml.safe_dump(document).encode()

    def credentials(self) -> Credentials:
        """Credentials that keep themselves fresh. Raises ConfigError if a certificate or key is not valid."""
        tls = _Tls(
            ca=self._decoded(self.cluster, "certificate-authority-data"),
            certificate=self._decoded(self.user, "client-certificate-data"),
            key=self._decoded(self.user, "client-key-data"),
        )
        server = self.cluster["server"].rstrip("/")
        return Credentials(
            self.source,
            server,
            _ssl_context(tls, self.source, verify=not self.cluster.get("insecure-skip-tls-verify")),
            self._authorization_source(),
            tls_server_name=self.cluster.get("tls-server-name") or None,
            proxy=proxy_for(server, self.cluster.get("proxy-url"), os.environ),
        )

    def _authorization_source(self) -> Source:
        if "exec" in self.user:
            return ExecPlugin(self.user["exec"], self.cluster, self.source)
        if "tokenFile" in self.user:
            return TokenFile(Path(self.user["tokenFile"]))
        if token := self.user.get("token"):
            return Fixed(f"Bearer {token}")
        if "username" in self.user and "password" in self.user:
            pair = f"{self.user['username']}:{self.user['password']}".encode()
            return Fixed(f"Basic {base64.b64encode(pair).decode()}")
        return Fixed(None)

    def _decoded(self, part: Mapping[str, Any], field: str) -> bytes:
        """The content of a field of the kubeconfig; empty if it is absent."""
        text = "".join(str(part.get(field) or "").split())
        try:
            return base64.b64decode(text, validate=True)
        except ValueError as error:
            raise invalid(
                self.source, f"{field} is not base64", "copy it in one piece, or: kubectl config view --flatten --raw"
            ) from error


@dataclass(frozen=True)
class _Tls:
    """Certificates and key of a kubeconfig, PEM; empty if it has none."""

    ca: bytes
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)


def in_cluster() -> Credentials | None:
    """The credentials of the pod that this process runs in; None outside of a pod.

    (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api)
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    ca, token = _ACCOUNT / "ca.crt", _ACCOUNT / "token"
    if not host or not port or not ca.exists() or not token.exists():
        return None
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    context = _ssl_context(_Tls(ca.read_bytes()), IN_CLUSTER, verify=True)
    return Credentials(IN_CLUSTER, server, context, TokenFile(token), proxy=proxy_for(server, None, os.environ))


def find_credentials(path: str | None = None, context: str | None = None) -> Credentials:
    """As kubectl finds them: `path`, $KUBECONFIG, ~/.kube/config, and within a pod its service account.

    Raises ConfigError.
    """
    explicit = path or context or os.environ.get("KUBECONFIG")
    if not explicit and not (Path.home() / ".kube" / "config").exists():
        if found := in_cluster():
            return found
        raise ConfigError("no parent cluster is configured", remedy="set KUBECONFIG or pass --kubeconfig")
    return Kubeconfig.from_files(path, context).credentials()


def _ssl_context(tls: _Tls, source: str, *, verify: bool) -> ssl.SSLContext:
    try:
        with keys.as_file(tls.ca) as path:
            context = ssl.create_default_context(cafile=path if tls.ca else None)
        if tls.certificate:
            keys.load_cert_chain(context, tls.certificate, tls.key)
    except ssl.SSLError as error:
        remedy = "check that they are PEM and belong together, and that the key is not encrypted"
        raise invalid(source, "certificate or key cannot be used", remedy) from error
    # Python 3.13 made RFC 5280 strictness the default; the CAs of real clusters are often not that strict.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_user(user: Mapping[str, Any], source: str) -> None:
    if not isinstance(user.get("exec", {}), dict):
        raise invalid(source, "exec is not a mapping")
    if impersonation := sorted(key for key in user if key == "as" or key.startswith("as-")):
        problem = f"impersonation ({', '.join(impersonation)}) is not supported"
        raise invalid(source, problem, "use a credential of that user itself")
    if "auth-provider" in user:
        raise invalid(source, "auth-provider is not supported", "use a token, a client certificate or an exec plugin")


def _inlined(section: str, entry: Entry, source: str, *, allowed: bool) -> dict[str, Any]:
    """The entry without fields that name files: their content instead. Inline data takes precedence, as in kubectl."""
    content = dict(entry.content)
    for file_field, data_field in _INLINE[section].items():
        file = content.pop(file_field, None)
        if file and not content.get(data_field):
            data = _read(str(file), entry.folder, source, file_field, allowed=allowed)
            content[data_field] = base64.b64encode(data).decode()
    return content


def _resolve(file: str, folder: Path | None) -> Path:
    return ((folder or Path.cwd()) / Path(file).expanduser()).absolute()


def _read(file: str, folder: Path | None, source: str, field: str, *, allowed: bool) -> bytes:
    if not allowed:
        raise invalid(
            source,
            f"{field} names a file",  # without its name: it may be a token by mistake
            "a kubeconfig in a Secret must hold its data inline (kubectl config view --flatten)",
        )
    try:
        return _resolve(file, folder).read_bytes()
    except OSError as error:
        raise invalid(source, f"{field} {file}: {error.strerror}") from error
