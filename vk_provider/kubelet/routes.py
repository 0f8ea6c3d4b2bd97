"""What a request of the kubelet API may do: every route, what it runs, and the permission that it needs.

A request needs the verb of its row on any one of the subresources of `nodes` in that row. Without a verb in the row,
the verb follows from the method of the request. A path without a row needs `nodes/proxy`.
(https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/#kubelet-authorization)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vk_provider.kubelet import handlers
from vk_provider.kubelet.auth import Permission
from vk_provider.kubelet.handlers import Handler

_PROXY: Final = ("proxy",)
_PODS: Final = ("pods", "proxy")
_VERBS: Final = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Route:
    """One row. All rows whose paths have the same first segment need the same permission."""

    methods: str  # separated by |
    path: str
    handler: Handler
    subresources: tuple[str, ...] = _PROXY
    verb: str = ""

    @property
    def segment(self) -> str:
        """The first segment of the path."""
        return _segment(self.path)


# Routes that open a stream need `create` whatever the method: stricter than a kubelet, on purpose.
ROUTES: Final = (
    Route("GET", "/containerLogs/{namespace}/{pod}/{container}", handlers.container_log),
    Route("GET|POST", "/exec/{namespace}/{pod}/{container}", handlers.exec_in_container, verb="create"),
    Route("GET|POST", "/exec/{namespace}/{pod}/{uid}/{container}", handlers.exec_in_container, verb="create"),
    Route("GET|POST", "/attach/{namespace}/{pod}/{container}", handlers.attach_to_container, verb="create"),
    Route("GET|POST", "/attach/{namespace}/{pod}/{uid}/{container}", handlers.attach_to_container, verb="create"),
    Route("GET|POST", "/portForward/{namespace}/{pod}", handlers.port_forward, verb="create"),
    Route("GET|POST", "/portForward/{namespace}/{pod}/{uid}", handlers.port_forward, verb="create"),
    Route("POST", "/run/{namespace}/{pod}/{container}", handlers.run_in_container, verb="create"),
    Route("POST", "/run/{namespace}/{pod}/{uid}/{container}", handlers.run_in_container, verb="create"),
    Route("GET", "/pods", handlers.pods, _PODS),
    Route("GET", "/runningpods/", handlers.running_pods, _PODS),
    Route("GET|POST", "/stats/summary", handlers.stats_summary, ("stats",)),
    Route("GET", "/metrics", handlers.own_metrics, ("metrics",)),
    Route("GET", "/metrics/resource", handlers.resource_metrics, ("metrics",)),
    Route("GET", "/metrics/cadvisor", handlers.cadvisor_metrics, ("metrics",)),
    Route("GET", "/metrics/probes", handlers.probe_metrics, ("metrics",)),
    Route("GET", "/healthz", handlers.healthz, ("healthz", "proxy")),
    Route("GET", "/healthz/{check:ping|log|syncloop}", handlers.healthz, ("healthz", "proxy")),
    Route("GET", "/configz", handlers.configz, ("configz", "proxy")),
    Route("GET", "/logs/{tail:.*}", handlers.node_logs, ("log",)),
    Route("POST", "/checkpoint/{tail:.*}", handlers.checkpoint, ("checkpoint",)),
)


def permission(method: str, path: str) -> Permission:
    """What a request needs, also one for a path that does not exist."""
    row = _BY_SEGMENT.get(_segment(path))
    verb = _VERBS.get(method, method.lower())
    return Permission(row.verb or verb, row.subresources) if row else Permission(verb, _PROXY)


def _segment(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


_BY_SEGMENT: Final = {route.segment: route for route in ROUTES}
