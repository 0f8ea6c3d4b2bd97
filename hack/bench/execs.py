"""Exec over WebSockets, as kubectl does it, without one process per exec.

(https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets:
v5.channel.k8s.io)
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlencode

import aiohttp

from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.http.transport import LEAKY_TLS

STDIN, STDOUT, STATUS, CLOSE = 0, 1, 3, 255  # channels
_PROTOCOL: Final = "v5.channel.k8s.io"


class Execs:
    """Streams of commands in one pod, through the API server of a kubeconfig."""

    def __init__(self, kubeconfig: Path, namespace: str, pod: str) -> None:
        credentials = Kubeconfig.from_files(str(kubeconfig)).credentials()
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        self._authorization = credentials.authorization
        connector = aiohttp.TCPConnector(ssl=credentials.ssl, limit=0, enable_cleanup_closed=LEAKY_TLS)
        self._session = aiohttp.ClientSession(credentials.server, connector=connector)

    async def __aenter__(self) -> Execs:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def open(self, *command: str) -> aiohttp.ClientWebSocketResponse:
        """Starts `command` with stdin and stdout."""
        authorization = await self._authorization()
        query = urlencode([("command", word) for word in command] + [("stdin", "true"), ("stdout", "true")])
        return await self._session.ws_connect(
            f"{self._path}?{query}",
            protocols=(_PROTOCOL,),
            headers={"Authorization": authorization} if authorization else {},
            max_msg_size=0,
        )


async def outcome(stream: aiohttp.ClientWebSocketResponse) -> tuple[bytes, bytes]:
    """The output of the command, and the Status at its end."""
    out, status = b"", b""
    async for message in stream:
        data: bytes = message.data
        out += data[1:] if data[0] == STDOUT else b""
        status += data[1:] if data[0] == STATUS else b""
    return out, status
