"""What the loop asks of whoever follows the parent's Services: the loops do not import one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from vk_provider.kube.informer import Handler
from vk_provider.kube.objects import Object
from vk_provider.translate.dependents.services import ParentSlice


class Source(Protocol):
    """Port: the Services and EndpointSlices of the parent, which all members share."""

    @property
    def services(self) -> Mapping[str, Object]: ...

    @property
    def slices(self) -> Mapping[str, ParentSlice]: ...

    def in_namespace(self, namespace: str) -> frozenset[str]: ...

    def slices_of(self, service: str) -> frozenset[str]: ...

    def subscribed(
        self, service: Handler[Object], slice: Handler[ParentSlice], rewound: Callable[[], None]
    ) -> AbstractContextManager[None]: ...
