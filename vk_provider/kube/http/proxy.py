"""Through which proxy a server is reached: as client-go does, by the kubeconfig, else by the environment.

`proxy-url` of the kubeconfig always counts. HTTPS_PROXY and HTTP_PROXY (also in lower case) do not for what NO_PROXY
lists: `*`, or names with or without a leading dot or `*.`, which include all names below them, IP addresses, and CIDRs;
a port may follow a name or an address. Loopback addresses and localhost are never reached through them.
(golang.org/x/net/http/httpproxy)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from vk_provider.errors import ConfigError


def proxy_for(server: str, proxy_url: str | None, environment: Mapping[str, str]) -> str | None:
    """The URL of the proxy, with its user and password; None if there is none.

    Raises ConfigError, without the password, for one that is not an HTTP proxy.
    """
    if proxy_url:
        return _checked(proxy_url, "proxy-url")
    url = urlsplit(server)
    name = "HTTPS_PROXY" if url.scheme == "https" else "HTTP_PROXY"
    found = _variable(name, environment)
    if not found or _bypasses(url, _variable("NO_PROXY", environment)):
        return None
    return _checked(found, name)


def _variable(name: str, environment: Mapping[str, str]) -> str:
    return environment.get(name) or environment.get(name.lower(), "")


def _checked(proxy: str, origin: str) -> str:
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        url = urlsplit(proxy)
        host, _ = url.hostname, url.port
    except ValueError:
        url, host = SplitResult("", "", "", "", ""), None
    if not host:
        raise ConfigError(f"{origin} is not the URL of a proxy", reason="KubeconfigInvalid")
    if url.scheme != "http":
        # aiohttp verifies the proxy with the CA of the cluster, and shows it the client certificate.
        raise ConfigError(
            f"{origin} names a proxy that is reached by {url.scheme}, which is not supported: {url.scheme}://{host}",
            reason="KubeconfigInvalid",
            remedy="use an http:// proxy (TLS to the API server passes through it), or NO_PROXY",
        )
    return proxy


def _bypasses(server: SplitResult, no_proxy: str) -> bool:
    host, port = (server.hostname or "").rstrip("."), server.port or (443 if server.scheme == "https" else 80)
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry.strip().lower(), host, port, address) for entry in no_proxy.split(","))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _matches(entry: str, host: str, port: int, address: _Address | None) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, only_port = _split_port(entry)
    if only_port not in ("", str(port)):
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*")
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""  # an IPv6 address has more colons, and a name has none


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
