"""GET /containerLogs/{namespace}/{pod}/{container}: the member's log, streamed.

One chunk is in flight at a time: if the reader stalls, reading from the member stops as well, and memory does not grow.
If the reader disconnects, aiohttp cancels the handler, which closes the member's connection at once.

A log that breaks off ends with a line that says so, as a kubelet writes its errors into a log that has begun, and
without its last chunk. `kubectl logs` shows the line only: kube-apiserver takes the end of the connection for the end
of the log, with a real kubelet too. (k8s.io/apiserver pkg/endpoints/handlers/responsewriters/writers.go: StreamObject)
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web

from vk_provider.kube.http.api import DEADLINE
from vk_provider.kubelet.backend import Backend

log = logging.getLogger(__name__)

# Options of `pods/log` that kube-apiserver passes on; the names are the same on both sides.
_OPTIONS: Final = frozenset(
    {"follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"}
)

# Keeps the member from closing its connection after the last byte: over TLS, asyncio and aiohttp see the end of a
# connection before they have parsed all that is buffered, and a slow reader would lose the rest.
_KEEP_ALIVE: Final = (("Connection", "keep-alive"),)


def member_query(query: str, container: str) -> str:
    """The query of the member's `pods/log`, from the raw query of the kubelet API."""
    chosen = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key in _OPTIONS]
    return urlencode([*chosen, ("container", container)])


class Logs:
    """Owns the logs that are being streamed."""

    def __init__(self) -> None:
        self._open: dict[aiohttp.ClientResponse, str] = {}  # with the reason why it was cut

    def cut(self, reason: str) -> None:
        """Ends all logs, as broken off."""
        for response in self._open:
            self._open[response] = reason
            response.close()

    async def copy(self, response: aiohttp.ClientResponse, answer: web.StreamResponse) -> str:
        """Copies the member's log to the reader. Returns why it broke off; empty if it is complete."""
        self._open[response] = ""
        try:
            while True:
                try:
                    chunk = await response.content.readany()
                except (aiohttp.ClientError, OSError) as error:
                    return self._open[response] or f"the connection to the member broke: {error}"
                if not chunk:
                    return self._open[response]
                await answer.write(chunk)
        finally:
            del self._open[response]


async def stream_log(request: web.Request, backend: Backend, logs: Logs) -> web.StreamResponse:
    """Streams until the member's log ends or the reader disconnects."""
    path, container = backend.path(request, "log"), request.match_info["container"]
    query = member_query(request.rel_url.raw_query_string, container)
    # The log of a quiet container that is followed has no answer before its first line.
    deadline = None if "follow=" in query else DEADLINE
    async with await backend.member.open("GET", f"{path}?{query}", headers=_KEEP_ALIVE, deadline=deadline) as response:
        if response.status != 200:
            return await backend.refusal(response)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        cause = await logs.copy(response, answer)
        if cause:
            log.info("member log broke off", extra={"node": backend.names.node, "error": cause})
            await answer.write(f'\nthe log of container "{container}" breaks off here: {cause}\n'.encode())
            if request.transport is not None:  # without its last chunk the answer is visibly incomplete
                request.transport.close()
        else:
            await answer.write_eof()
    return answer
