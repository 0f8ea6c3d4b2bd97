"""Requests for every route of the kubelet API, with the permissions that each needs."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final

from tests.integration.serving import POD, Served, request_bytes


@dataclass(frozen=True)
class Route:
    """A request, the permissions of which any one is sufficient, and the status of the answer with it."""

    method: str
    path: str
    rights: tuple[str, ...]
    status: int = 200


ROUTES: Final = [
    Route("GET", f"/containerLogs/{POD}/app", ("get proxy",)),
    Route("GET", "/containerLogs/shop/absent/app", ("get proxy",), 404),
    *(
        Route(method, path, ("create proxy",), 400)  # these requests lack the headers of an upgrade
        for path in (
            f"/exec/{POD}/app",
            f"/exec/{POD}/p-1/app",
            f"/attach/{POD}/app",
            f"/attach/{POD}/p-1/app",
            f"/portForward/{POD}",
            f"/portForward/{POD}/p-1",
        )
        for method in ("GET", "POST")
    ),
    Route("POST", f"/run/{POD}/app", ("create proxy",), 404),  # the answer of the scripted member
    Route("POST", f"/run/{POD}/p-1/app", ("create proxy",), 404),
    Route("GET", "/pods", ("get pods", "get proxy")),
    Route("GET", "/runningpods/", ("get pods", "get proxy")),
    Route("GET", "/stats/summary", ("get stats",)),
    Route("POST", "/stats/summary", ("create stats",)),
    Route("GET", "/metrics", ("get metrics",)),
    Route("GET", "/metrics/resource", ("get metrics",)),
    Route("GET", "/metrics/cadvisor", ("get metrics",)),
    Route("GET", "/metrics/probes", ("get metrics",)),
    Route("GET", "/healthz", ("get healthz", "get proxy")),
    Route("GET", "/healthz/ping", ("get healthz", "get proxy")),
    Route("GET", "/healthz/nothing", ("get healthz", "get proxy"), 404),
    Route("GET", "/configz", ("get configz", "get proxy")),
    Route("POST", f"/checkpoint/{POD}/app", ("create checkpoint",), 501),
    # The existence of a route is only disclosed to authorized clients.
    Route("GET", "/", ("get proxy",), 404),
    Route("GET", "/nothing", ("get proxy",), 404),
    Route("GET", "/logs/messages", ("get log",), 404),
    Route("PUT", f"/exec/{POD}/app", ("create proxy",), 405),
    Route("DELETE", "/pods", ("delete pods", "delete proxy"), 405),
    # Attempts to bypass the table of permissions.
    Route("GET", f"/metrics/../containerLogs/{POD}/app", ("get metrics",), 404),
    Route("GET", f"/metrics/%2e%2e/containerLogs/{POD}/app", ("get metrics",), 404),
    Route("GET", f"/metrics%2F../containerLogs/{POD}/app", ("get metrics",), 404),
    Route("GET", f"//containerLogs/{POD}/app", ("get proxy",), 404),
    Route("GET", f"/%63ontainerLogs/{POD}/app", ("get proxy",)),
    Route("POST", f"/%65xec/{POD}/app", ("create proxy",), 400),
]
EVERY_RIGHT: Final = sorted({right for route in ROUTES for right in route.rights} | {"get exec", "create pods"})


async def statuses(served: Served, *, tls: ssl.SSLContext | None = None, token: str = "") -> dict[str, int]:
    """The status of the answer of every route, each over its own connection."""
    async with asyncio.TaskGroup() as group:
        tasks = {
            f"{route.method} {route.path}": group.create_task(status(served, route, tls, token)) for route in ROUTES
        }
    return {name: task.result() for name, task in tasks.items()}


async def status(served: Served, route: Route, tls: ssl.SSLContext | None, token: str) -> int:
    """Sends bytes, because HTTP clients normalize paths. An answer of 401 or 403 must not disclose anything."""
    reader, writer = await served.connect(tls)
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    writer.write(request_bytes(route.method, route.path, Connection="close", **authorization))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    code = int(head.split()[1])
    if code == 401:
        assert body == b"Unauthorized"
    if code == 403:
        assert body.startswith(b"Forbidden (user=")
    return code
