"""What the routes of the kubelet API do (see `routes`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from vk_provider.config import KubeletSettings
from vk_provider.kube.objects import Pod, encode
from vk_provider.kubelet.auth import ALLOWED_SECONDS, DENIED_SECONDS, TOKEN_SECONDS
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.logs import Logs, stream_log
from vk_provider.kubelet.own_metrics import OwnMetrics
from vk_provider.kubelet.streams import IDLE_SECONDS, Sessions, exec_query, port_forward_query, run, upgrade


class Metrics(Protocol):
    """Interface: metrics of the member; a MemberMetrics."""

    async def summary(self, *, only_cpu_and_memory: bool) -> bytes: ...

    async def resource(self) -> bytes: ...

    async def cadvisor(self) -> bytes: ...

    async def probes(self) -> bytes: ...

    @property
    def skipped(self) -> int: ...


@dataclass(frozen=True)
class KubeletApi:
    """What the handlers of one virtual node use."""

    backend: Backend
    sessions: Sessions
    logs: Logs
    metrics: Metrics
    own_metrics: OwnMetrics
    settings: KubeletSettings


Handler = Callable[[KubeletApi, web.Request], Awaitable[web.StreamResponse]]


async def container_log(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    return await stream_log(request, api.backend, api.logs)


async def exec_in_container(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    query = exec_query(request.rel_url.raw_query_string, request.match_info["container"])
    return await upgrade(request, api.backend, api.sessions, "exec", query)


async def attach_to_container(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    query = exec_query(request.rel_url.raw_query_string, request.match_info["container"])
    return await upgrade(request, api.backend, api.sessions, "attach", query)


async def port_forward(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    query = port_forward_query(request.rel_url.raw_query_string)
    return await upgrade(request, api.backend, api.sessions, "portforward", query)


async def run_in_container(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    return await run(request, api.backend, api.sessions)


async def pods(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    """All pods that are bound to the virtual node."""
    return _pod_list(api.backend.parent_pods.items.values())


async def running_pods(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    """The pods that have a member pod."""
    names, member_pods = api.backend.names, api.backend.member_pods.items
    return _pod_list(
        pod
        for pod in api.backend.parent_pods.items.values()
        if f"{names.namespace(pod.metadata.namespace)}/{pod.metadata.name}" in member_pods
    )


async def stats_summary(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    lean = request.query.get("only_cpu_and_memory", "false").lower() == "true"
    body = await api.metrics.summary(only_cpu_and_memory=lean)
    return web.Response(body=body, content_type="application/json")


async def own_metrics(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    return _prometheus(api.own_metrics.text())


async def resource_metrics(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    return _prometheus(await api.metrics.resource())


async def cadvisor_metrics(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    return _prometheus(await api.metrics.cadvisor())


async def probe_metrics(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    return _prometheus(await api.metrics.probes())


async def healthz(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


async def configz(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    """Of a kubelet's configuration, what is true of this server. All else has no meaning here, and is absent."""
    settings, transport = api.settings, request.transport
    found: dict[str, Any] = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "enableServer": True,
        "address": settings.bind or settings.address,
        "port": transport.get_extra_info("sockname")[1] if transport is not None else 0,
        "tlsMinVersion": "VersionTLS12",
        "serverTLSBootstrap": settings.files is None,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": f"{TOKEN_SECONDS:.0f}s"},
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": {
                "cacheAuthorizedTTL": f"{ALLOWED_SECONDS:.0f}s",
                "cacheUnauthorizedTTL": f"{DENIED_SECONDS:.0f}s",
            },
        },
        "streamingConnectionIdleTimeout": f"{IDLE_SECONDS:.0f}s",
        "enableDebuggingHandlers": True,
    }
    if settings.files is not None:
        found |= {"tlsCertFile": str(settings.files.certificate), "tlsPrivateKeyFile": str(settings.files.key)}
    return web.json_response({"kubeletconfig": found})


async def node_logs(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound(text="a virtual node has no log files")


async def checkpoint(api: KubeletApi, request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotImplemented(text="checkpoints are not supported by a virtual node")


def _prometheus(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _pod_list(found: Iterable[Pod]) -> web.Response:
    items = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": pod.metadata, "spec": pod.spec, "status": pod.status}
        for pod in found
    ]
    body = encode({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})
    return web.Response(body=body, content_type="application/json")
