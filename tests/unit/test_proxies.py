"""Which proxy leads to a server, and that its password is in no message."""

from __future__ import annotations

import asyncio

import pytest

from vk_provider.errors import ConfigError, UnreachableError
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.http.proxy import proxy_for

PROXY = "http://user:S3CR3T@proxy:3128"


@pytest.mark.parametrize(
    ("server", "no_proxy"),
    [
        ("https://10.96.0.1:443", "10.0.0.0/8,localhost"),
        ("https://[fd00::1]:6443", "fd00::/8"),
        ("https://10.96.0.1", "example.com, 10.96.0.1"),
        ("https://[fd00::1]:6443", "[fd00::1]:6443"),
        ("https://api.example.com:6443", "example.com"),
        ("https://api.example.com:6443", ".example.com"),
        ("https://api.example.com:6443", "*.Example.com"),
        ("https://api.example.com:6443", "api.example.com:6443"),
        ("https://api.example.com:6443", "*"),
        ("https://localhost:6443", ""),
        ("https://127.0.0.1:6443", ""),
        ("https://[::1]:6443", ""),
    ],
)
def test_no_proxy_is_honoured(server: str, no_proxy: str) -> None:
    assert proxy_for(server, None, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) is None
    assert proxy_for(server, None, {"https_proxy": PROXY, "no_proxy": no_proxy}) is None


@pytest.mark.parametrize(
    ("server", "no_proxy"),
    [
        ("https://11.96.0.1:443", "10.0.0.0/8,localhost"),
        ("https://api.example.com:6443", "api.example.com:443"),
        ("https://badexample.com", "example.com"),
        ("https://example.com", ".example.com"),
        ("https://example.com", "10.0.0.0/33,,x/y"),
    ],
)
def test_other_servers_are_reached_through_the_proxy(server: str, no_proxy: str) -> None:
    assert proxy_for(server, None, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) == PROXY


def test_the_proxy_of_the_kubeconfig_counts_in_any_case() -> None:
    assert proxy_for("https://10.0.0.1", "http://other:1", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}) == "http://other:1"


def test_a_proxy_without_a_scheme_is_an_http_proxy() -> None:
    assert proxy_for("https://10.0.0.1", None, {"HTTPS_PROXY": "proxy:3128"}) == "http://proxy:3128"


@pytest.mark.parametrize("proxy", ["https://u:S3CR3T@proxy:3128", "socks5://u:S3CR3T@proxy", "http://u:S3CR3T@:x"])
def test_a_proxy_that_cannot_be_used_is_an_error_without_its_password(proxy: str) -> None:
    with pytest.raises(ConfigError) as refused:
        proxy_for("https://10.0.0.1", proxy, {})
    assert "S3CR3T" not in str(refused.value)
    assert refused.value.reason == "KubeconfigInvalid"


def test_a_server_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="contains a user or a password") as refused:
        kubeconfig("https://user:S3CR3T@east:6443")
    assert "S3CR3T" not in str(refused.value)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 502 Bad\r\n\r\n", b"?\r\n\r\n", b""]
)
async def test_an_error_about_a_proxy_does_not_contain_its_password(answer: bytes) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    config = kubeconfig("https://east.example:6443", f"http://user:S3CR3T@127.0.0.1:{port}")
    async with proxy, Client(config.credentials()) as client:
        with pytest.raises(UnreachableError) as failed:
            await client.request("GET", "/")
    assert "S3CR3T" not in str(failed.value)
    assert "S3CR3T" not in failed.value.message
    if b"407" in answer:
        assert "the proxy answers HTTP 407" in str(failed.value)


def kubeconfig(server: str, proxy: str = "") -> Kubeconfig:
    cluster = f"server: '{server}'" + (f", proxy-url: '{proxy}'" if proxy else "")
    text = f"""
        current-context: it
        contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
        clusters: [{{name: it, cluster: {{{cluster}}}}}]
        users: [{{name: it, user: {{token: t}}}}]
    """
    return Kubeconfig.from_secret(text.encode(), "Secret default/east")
