"""All pods of an API server, as it tells them: an observer of its own, independent of the code under test."""

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
from vk_provider.kube.transport import LEAKY_TLS

Json = dict[str, Any]
Heard = Callable[[str, Json], None]

_AGAIN: Final = 0.2  # seconds between attempts
_SILENCE: Final = 90.0  # seconds without a byte after which a watch counts as broken


class Api:
    """The little that observers and kubelets ask of one API server, as its administrator. Used from one event loop."""

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
        """The answer; None where the server refuses. Raises aiohttp.ClientError and TimeoutError where none comes."""
        headers = {"Content-Type": f"application/{kind}"}
        data = None if body is None else json.dumps(body)
        timeout = aiohttp.ClientTimeout(total=10)
        async with self._session.request(
            method, self.server + path, data=data, headers=headers, timeout=timeout
        ) as answer:
            found: Json = await answer.json(content_type=None)
            return found if answer.status < 300 else None

    async def follow(self, path: str, heard: Heard) -> None:
        """Tells ADDED, MODIFIED and DELETED for ever; after a gap, what is gone is told as DELETED."""
        known: dict[str, Json] = {}
        version = ""
        while True:
            try:
                version = version or await self._list(path, known, heard)
                version = await self._watch(path, version, known, heard)
            except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError):
                await asyncio.sleep(_AGAIN)

    async def _list(self, path: str, known: dict[str, Json], heard: Heard) -> str:
        listing = await self.request("GET", path)
        if listing is None:
            await asyncio.sleep(_AGAIN)
            return ""
        found = {item["metadata"]["uid"]: item for item in listing["items"]}
        for uid in [uid for uid in known if uid not in found]:
            heard("DELETED", known.pop(uid))
        for uid, item in found.items():
            heard("MODIFIED" if uid in known else "ADDED", item)
            known[uid] = item
        return str(listing["metadata"]["resourceVersion"])

    async def _watch(self, path: str, version: str, known: dict[str, Json], heard: Heard) -> str:
        """Returns where it stands; empty where it has to begin anew. Leaves nothing untold when it raises."""
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
                    heard(event["type"], item)
        except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError, KeyError):
            await asyncio.sleep(_AGAIN)
        return version


def into(history: History, cluster: str) -> Heard:
    """Writes what is heard of pods into the history."""
    return lambda kind, pod: history.add(seen(cluster, pod, gone=kind == "DELETED", at=time.monotonic()))
