"""The way from the provider to a member, which a test can cut; the test itself still reaches the member."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from types import TracebackType
from urllib.parse import urlsplit

from tests.cluster import Cluster
from tests.members import kubeconfig
from tests.proxy import Proxy

_SERVER_NAME = "kubernetes.default.svc"  # is in every API server's certificate


class Link:
    """A proxy before one cluster, in a thread of its own: tests that wait must not stop it. A context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        url = urlsplit(cluster.server)
        self._proxy = Proxy(url.hostname or "", url.port or 443)

    def __enter__(self) -> Link:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(None, None, None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def kubeconfig(self) -> str:
        """For the provider's account in the member, by way of this link."""
        document = json.loads(kubeconfig(self._cluster, server=f"https://127.0.0.1:{self._proxy.port}"))
        document["clusters"][0]["cluster"]["tls-server-name"] = _SERVER_NAME
        return json.dumps(document)

    def cut(self) -> None:
        """All bytes vanish: connections stay open and are silent."""
        self._call(self._proxy.swallow)

    def heal(self) -> None:
        """New connections work; the old ones stay silent for ever."""
        self._call(self._proxy.restore)

    def _call(self, act: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10), "the link's thread does not answer"
