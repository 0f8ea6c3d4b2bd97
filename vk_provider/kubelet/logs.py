"""GET /containerLogs/{namespace}/{pod}/{container}: the member's log, streamed.

One chunk is in flight at a time: if the reader stalls, reading from the member stops as well, and memory does not grow.
If the reader disconnects, aiohttp cancels the handler, which closes the member's connection at once.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web

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


async def stream_log(request: web.Request, backend: Backend) -> web.StreamResponse:
    """Streams until the member's log ends or the reader disconnects."""
    path = backend.path(request, "log")
    query = member_query(request.rel_url.raw_query_string, request.match_info["container"])
    async with await backend.member.open("GET", f"{path}?{query}", headers=_KEEP_ALIVE) as response:
        if response.status != 200:
            return await backend.refusal(response)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        try:
            async for chunk in response.content.iter_any():
                await answer.write(chunk)
        except aiohttp.ClientPayloadError as error:
            # Without its last chunk the answer is visibly incomplete: the reader must not take it for the whole log.
            log.info("member log broke off", extra={"node": backend.names.node, "error": str(error)})
            if request.transport is not None:
                request.transport.close()
            return answer
        await answer.write_eof()
    return answer
