"""Watches all pods of an API server, independent of the code under test."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from tests.chaos.history import History, seen
from tests.cluster import Cluster
from vk_provider.kube.http.transport import LEAKY_TLS

Json = dict[str, Any]
Handler = Callable[[str, Json], None]

_AGAIN: Final = 0.2  # seconds between attempts
_SILENCE: Final = 90.0  # seconds without a byte until a watch counts as broken


class Api:
    """The requests of observers and kubelets to one API server, as its administrator. Use it from one event loop."""

    def __init__(self, cluster: Cluster) -> None:
        self.server = cluster.server
        pki = cluster.info.directory / "pki"
        context = ssl.create_default_context(cadata=base64.b64decode(cluster.ca_data).decode())
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0, enable_cleanup_closed=LEAKY_TLS),
            headers={"User-Agent": "test"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def request(self, method: str, path: str, body: Json | None = None, *, kind: str = "json") -> Json | None:
        """The answer; None if it is an error status. Raises aiohttp.ClientError and TimeoutError without an answer."""
        headers = {"Content-Type": f"application/{kind}"}
        data = None if body is None else json.dumps(body)
        timeout = aiohttp.ClientTimeout(total=10)
        async with self._session.request(
            method, self.server + path, data=data, headers=headers, timeout=timeout
        ) as answer:
            found: Json = await answer.json(content_type=None)
            return found if answer.status < 300 else None

    async def follow(self, path: str, handler: Handler) -> None:
        """Calls the handler for ADDED, MODIFIED and DELETED until cancelled. After a gap, a list reveals deletions."""
        known: dict[str, Json] = {}
        version = ""
        while True:
            try:
                version = version or await self._list(path, known, handler)
                version = await self._watch(path, version, known, handler)
            except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError):
                await asyncio.sleep(_AGAIN)

    async def _list(self, path: str, known: dict[str, Json], handler: Handler) -> str:
        listing = await self.request("GET", path)
        if listing is None:
            await asyncio.sleep(_AGAIN)
            return ""
        found = {item["metadata"]["uid"]: item for item in listing["items"]}
        for uid in [uid for uid in known if uid not in found]:
            handler("DELETED", known.pop(uid))
        for uid, item in found.items():
            handler("MODIFIED" if uid in known else "ADDED", item)
            known[uid] = item
        return str(listing["metadata"]["resourceVersion"])

    async def _watch(self, path: str, version: str, known: dict[str, Json], handler: Handler) -> str:
        """Calls the handler for every event until the watch ends.

        Returns the last resource version, or "" if a new list is needed.
        """
        if not version:
            return ""
        joint = "&" if "?" in path else "?"
        url = (
            f"{self.server}{path}{joint}watch=1&allowWatchBookmarks=true&timeoutSeconds=3000&resourceVersion={version}"
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_read=_SILENCE)
        try:
            async with self._session.get(url, timeout=timeout, read_bufsize=2**21) as answer:
                while line := await answer.content.readline():
                    event = json.loads(line)
                    item = event["object"]
                    if event["type"] == "ERROR" or answer.status != 200:
                        return ""
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] == "BOOKMARK":
                        continue
                    uid = item["metadata"]["uid"]
                    if event["type"] == "DELETED":
                        known.pop(uid, None)
                    else:
                        known[uid] = item
                    handler(event["type"], item)
        except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError, KeyError):
            await asyncio.sleep(_AGAIN)
        return version


def into(history: History, cluster: str) -> Handler:
    """A handler that writes observations of pods into the history."""
    return lambda kind, pod: history.add(seen(cluster, pod, gone=kind == "DELETED", at=time.monotonic()))
