"""Where credentials come from: kubeconfig files, kubeconfigs in Secrets, and the pod that this process runs in.

The official client parses kubeconfigs and finds in-cluster credentials; nothing else of it is used. It does not run
exec plugins (it only logs when one fails, and is then unauthenticated), does not refresh OIDC tokens (it does so
without verifying TLS), and never gets a private key (it leaves keys in files until the process exits). No credential is
ever logged.
"""

from __future__ import annotations

import base64
import copy
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes import config as kubernetes_config
from kubernetes.client import Configuration
from kubernetes.config import kube_config

from vk_provider.errors import ConfigError
from vk_provider.kube import keys
from vk_provider.kube.credentials import Credentials, ExecPlugin, Fixed, Source, TokenFile

IN_CLUSTER: Final = "in-cluster"  # name of the credentials of the pod that this process runs in
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_INLINE: Final = (  # part of a kubeconfig, its field that names a file, and the field with the content as base64
    ("cluster", "certificate-authority", "certificate-authority-data"),
    ("user", "client-certificate", "client-certificate-data"),
    ("user", "client-key", "client-key-data"),
)


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
            raise ConfigError(f"kubeconfig {source}: no such file", reason="KubeconfigInvalid")
        try:
            merged = kube_config.KubeConfigMerger(os.pathsep.join(map(str, files))).config
        except yaml.YAMLError:
            raise ConfigError(f"kubeconfig {source}: not YAML", reason="KubeconfigInvalid") from None
        except (kubernetes_config.ConfigException, OSError, UnicodeDecodeError, TypeError) as error:
            raise ConfigError(f"kubeconfig {source}: {_one_line(error)}", reason="KubeconfigInvalid") from error
        return cls._select(merged, context, source, files_allowed=True)

    @classmethod
    def from_secret(cls, data: bytes, source: str) -> Kubeconfig:
        """Reads the kubeconfig of a member. It is not trusted: it must not name files or programs of this machine.

        Raises ConfigError: not a kubeconfig, or one that needs a file or a plugin of this machine.
        """
        try:
            document = yaml.safe_load(data)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            # The parser's message quotes the line with the error, which may be the one with the token.
            mark = getattr(error, "problem_mark", None)
            where = f" (line {mark.line + 1})" if mark else ""
            raise ConfigError(f"{source}: not YAML{where}", reason="KubeconfigInvalid") from None
        if not isinstance(document, dict):
            raise ConfigError(f"{source}: not a kubeconfig", reason="KubeconfigInvalid")
        return cls._select(kube_config.ConfigNode("kubeconfig", document), None, source, files_allowed=False)

    @classmethod
    def _select(cls, merged: Any, context: str | None, source: str, *, files_allowed: bool) -> Kubeconfig:
        try:
            if merged is None:
                raise ConfigError(f"kubeconfig {source} is empty", reason="KubeconfigInvalid")
            name = context or str(merged["current-context"])
            chosen = merged["contexts"].get_with_name(name)["context"]
            cluster_node = merged["clusters"].get_with_name(chosen["cluster"])
            cluster = dict(cluster_node["cluster"].value)
            user_node = merged["users"].get_with_name(chosen["user"])
            user = dict(user_node["user"].value)
        except (kubernetes_config.ConfigException, TypeError, AttributeError, KeyError, ValueError) as error:
            raise ConfigError(f"kubeconfig {source}: {_one_line(error)}", reason="KubeconfigInvalid") from error
        if not isinstance(cluster.get("server"), str):
            raise ConfigError(f"kubeconfig {source}: context {name} names no server", reason="KubeconfigInvalid")
        if "exec" in user and not isinstance(user["exec"], dict):
            raise ConfigError(f"kubeconfig {source}: exec is not a mapping", reason="KubeconfigInvalid")
        if impersonation := sorted(key for key in user if key == "as" or key.startswith("as-")):
            raise ConfigError(
                f"kubeconfig {source}: impersonation ({', '.join(impersonation)}) is not supported",
                reason="KubeconfigInvalid",
                remedy="use a credential of that user itself",
            )
        if "auth-provider" in user:
            raise ConfigError(
                f"kubeconfig {source}: auth-provider is not supported",
                reason="KubeconfigInvalid",
                remedy="use a token, a client certificate or an exec plugin",
            )
        parts = {"cluster": (cluster, cluster_node.path), "user": (user, user_node.path)}
        for part, file_field, data_field in _INLINE:
            entry, origin = parts[part]
            if entry.get(file_field) and not entry.get(data_field):
                entry[data_field] = base64.b64encode(
                    _read(entry[file_field], origin, source, file_field, allowed=files_allowed)
                ).decode()
            entry.pop(file_field, None)
        if "tokenFile" in user:
            token = _read(user["tokenFile"], user_node.path, source, "tokenFile", allowed=files_allowed)
            user["tokenFile"] = str(_resolve(user["tokenFile"], user_node.path))
            user["token"] = token.decode().strip()
        if "exec" in user and not files_allowed:
            raise ConfigError(
                f"{source}: uses the exec plugin {user['exec'].get('command')!r}, which is not run for a member",
                reason="KubeconfigInvalid",
                remedy="use the token of a ServiceAccount of the member, or a client certificate",
            )
        return cls(cluster=cluster, user=user, context=name, source=source)

    def self_contained(self) -> bytes:
        """The kubeconfig as YAML that works on any machine, for a Secret.

        Raises ConfigError if the credential is an exec plugin or a token file.
        """
        for key, what in (("exec", "an exec plugin"), ("tokenFile", "a token file")):
            if key in self.user:
                raise ConfigError(
                    f"kubeconfig {self.source}: context {self.context} authenticates by {what} of this machine",
                    reason="KubeconfigInvalid",
                    remedy="use the token of a ServiceAccount of the member, or a client certificate",
                )
        return yaml.safe_dump(self._document()).encode()

    def _document(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": copy.deepcopy(dict(self.cluster))}],
            "users": [{"name": "user", "user": copy.deepcopy(dict(self.user))}],
            "contexts": [{"name": self.context, "context": {"cluster": "cluster", "user": "user"}}],
            "current-context": self.context,
        }

    def credentials(self) -> Credentials:
        """Credentials that keep themselves fresh. Raises ConfigError if a certificate or key is not valid."""
        document = self._document()
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        tls = _Tls(
            ca=self._decoded(cluster, "certificate-authority-data"),
            certificate=self._decoded(user, "client-certificate-data"),
            key=self._decoded(user, "client-key-data"),
        )
        plugin = user.pop("exec", None)
        user.pop("tokenFile", None)
        settings = Configuration()
        try:
            kubernetes_config.load_kube_config_from_dict(document, client_configuration=settings, persist_config=False)
        except (kubernetes_config.ConfigException, ValueError, TypeError) as error:
            raise ConfigError(f"kubeconfig {self.source}: {_one_line(error)}", reason="KubeconfigInvalid") from error
        source: Source = Fixed(settings.api_key.get("BearerToken"))
        if plugin is not None:
            source = ExecPlugin(plugin, self.cluster, self.source)
        elif "tokenFile" in self.user:
            source = TokenFile(Path(self.user["tokenFile"]))
        return _credentials(settings, tls, source, self.source)

    def _decoded(self, part: dict[str, Any], field: str) -> bytes:
        """Takes a field out of a part of the kubeconfig; empty if it is absent."""
        text = "".join(str(part.pop(field, None) or "").split())
        try:
            return base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ConfigError(f"kubeconfig {self.source}: {field} is not base64", reason="KubeconfigInvalid") from error


@dataclass(frozen=True)
class _Tls:
    """Certificates and key of a kubeconfig, PEM; empty if it has none."""

    ca: bytes
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)


def in_cluster() -> Credentials | None:
    """The credentials of the pod that this process runs in; None outside of a pod."""
    settings = Configuration()
    try:
        kubernetes_config.load_incluster_config(client_configuration=settings)
    except kubernetes_config.ConfigException:
        return None
    tls = _Tls((_ACCOUNT / "ca.crt").read_bytes())
    return _credentials(settings, tls, TokenFile(_ACCOUNT / "token"), IN_CLUSTER)


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


def _credentials(settings: Configuration, tls: _Tls, source: Source, name: str) -> Credentials:
    return Credentials(
        name,
        settings.host.rstrip("/"),
        _ssl_context(tls, name, verify=settings.verify_ssl),
        source,
        tls_server_name=settings.tls_server_name or None,
        proxy=settings.proxy or None,
    )


def _ssl_context(tls: _Tls, name: str, *, verify: bool) -> ssl.SSLContext:
    try:
        with keys.as_file(tls.ca) as path:
            context = ssl.create_default_context(cafile=path if tls.ca else None)
        if tls.certificate:
            keys.load_cert_chain(context, tls.certificate, tls.key)
    except ssl.SSLError as error:
        raise ConfigError(
            f"kubeconfig {name}: certificate or key cannot be used",
            reason="KubeconfigInvalid",
            remedy="check that they are PEM and belong together, and that the key is not encrypted",
        ) from error
    # Python 3.13 made RFC 5280 strictness the default; the CAs of real clusters are often not that strict.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _resolve(file: str, origin: str | None) -> Path:
    base = Path(origin).parent if origin else Path.cwd()
    return (base / Path(file).expanduser()).absolute()


def _read(file: str, origin: str | None, source: str, field: str, *, allowed: bool) -> bytes:
    if not allowed:
        raise ConfigError(
            f"{source}: {field} names a file",  # without its name: it may be a token by mistake
            reason="KubeconfigInvalid",
            remedy="a kubeconfig in a Secret must hold its data inline (kubectl config view --flatten)",
        )
    try:
        return _resolve(file, origin).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"kubeconfig {source}: {field} {file}: {error.strerror}", reason="KubeconfigInvalid"
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
