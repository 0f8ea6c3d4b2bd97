"""The permission that a request to the kubelet API needs."""

from __future__ import annotations

import pytest

from vk_provider.kubelet.auth import Permission
from vk_provider.kubelet.routes import ROUTES, permission

PROXY = ("proxy",)


@pytest.mark.parametrize(
    ("method", "path", "verb", "subresources"),
    [
        ("GET", "/containerLogs/ns/pod/app", "get", PROXY),
        ("GET", "/exec/ns/pod/app", "create", PROXY),
        ("POST", "/exec/ns/pod/app", "create", PROXY),
        ("POST", "/exec/ns/pod/uid/app", "create", PROXY),
        ("GET", "/attach/ns/pod/app", "create", PROXY),
        ("GET", "/portForward/ns/pod", "create", PROXY),
        ("POST", "/run/ns/pod/app", "create", PROXY),
        ("GET", "/pods", "get", ("pods", "proxy")),
        ("GET", "/runningpods/", "get", ("pods", "proxy")),
        ("GET", "/stats/summary", "get", ("stats",)),
        ("POST", "/stats/summary", "create", ("stats",)),
        ("GET", "/metrics", "get", ("metrics",)),
        ("GET", "/metrics/resource", "get", ("metrics",)),
        ("GET", "/metrics/cadvisor", "get", ("metrics",)),
        ("GET", "/metrics/probes", "get", ("metrics",)),
        ("GET", "/logs/messages", "get", ("log",)),
        ("GET", "/healthz", "get", ("healthz", "proxy")),
        ("GET", "/configz", "get", ("configz", "proxy")),
        ("POST", "/checkpoint/ns/pod/app", "create", ("checkpoint",)),
        ("GET", "/", "get", PROXY),
        ("GET", "/nothing", "get", PROXY),
        ("GET", "//metrics", "get", PROXY),
        ("GET", "/metricsfoo", "get", PROXY),
        ("GET", "/podsfoo", "get", PROXY),
        ("GET", "/Metrics", "get", PROXY),
        ("OPTIONS", "*", "options", PROXY),
        ("HEAD", "/pods", "get", ("pods", "proxy")),
        ("PUT", "/nothing", "update", PROXY),
        ("PATCH", "/nothing", "patch", PROXY),
        ("DELETE", "/pods", "delete", ("pods", "proxy")),
        ("DELETE", "/exec/ns/pod/app", "create", PROXY),
        ("BREW", "/nothing", "brew", PROXY),
    ],
)
def test_the_permission_that_a_request_needs(method: str, path: str, verb: str, subresources: tuple[str, ...]) -> None:
    assert permission(method, path) == Permission(verb, subresources)


def test_routes_under_one_segment_need_the_same_permission() -> None:
    """Otherwise the permission would depend on the order of the table."""
    for route in ROUTES:
        method = route.methods.partition("|")[0]
        needed = permission(method, route.path)
        assert needed.subresources == route.subresources
        assert not route.verb or needed.verb == route.verb
