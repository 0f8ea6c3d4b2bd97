"""A list that is received page by page, and goes on where it was after a page has failed.

The token of the next page is valid for some minutes (410 after that), and the list is consistent: all pages are as of
the version of the first one. After a page that did not arrive, smaller ones are asked for.
(https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from vk_provider.errors import UnreachableError
from vk_provider.kube.client import PAGE, Client, ListPage
from vk_provider.kube.resources import Resource

_SMALLEST: Final = 20  # objects


class PagedList:
    """Owns the position in the list, and the size of its pages."""

    def __init__(
        self, client: Client, resource: Resource, type: type[Any], namespace: str, query: Mapping[str, str]
    ) -> None:
        self._client, self._resource, self._type = client, resource, type
        self._namespace, self._query = namespace, query
        self._token, self._size = "", PAGE
        self.version = ""  # of the list, once a page has arrived

    async def rest(self) -> AsyncGenerator[ListPage[Any], None]:
        """The pages that have not arrived yet. Call it again after an error. Raises GoneError if it is too late."""
        while True:
            try:
                page: ListPage[Any] = await self._client.page(
                    self._resource,
                    self._namespace,
                    type=self._type,
                    query=self._query,
                    size=self._size,
                    token=self._token,
                )
            except UnreachableError:
                self._size = max(_SMALLEST, self._size // 4)
                raise
            self.version = self.version or page.metadata.resource_version
            self._token = page.metadata.continue_
            yield page
            if not self._token:
                return
