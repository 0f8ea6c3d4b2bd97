"""What the dependents ask of other parts, which they do not import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Handler, Informer
from vk_provider.kube.objects import Object, PartialObject
from vk_provider.kube.recorder import Recorder
from vk_provider.sync.dependents.sources import WatchLimit
from vk_provider.translate.dependents.budgets import Budget, Shares
from vk_provider.translate.dependents.network_policies import NetworkPolicy
from vk_provider.translate.dependents.services import ParentSlice


class ParentServices(Protocol):
    """Interface: the Services and EndpointSlices of the parent, which all members share."""

    @property
    def services(self) -> Mapping[str, Object]: ...

    @property
    def slices(self) -> Mapping[str, ParentSlice]: ...

    def in_namespace(self, namespace: str) -> frozenset[str]: ...

    def slices_of(self, service: str) -> frozenset[str]: ...

    def subscribed(
        self, service: Handler[Object], slice: Handler[ParentSlice], restored: Callable[[], None]
    ) -> AbstractContextManager[None]: ...


class Parent(Protocol):
    """Interface: the parent, with the lists that all members share."""

    @property
    def client(self) -> Client: ...

    @property
    def namespaces(self) -> Informer[PartialObject]: ...

    @property
    def services(self) -> ParentServices: ...

    @property
    def policies(self) -> Informer[NetworkPolicy]: ...

    @property
    def budgets(self) -> Informer[Budget]: ...

    @property
    def budget_shares(self) -> Shares: ...

    @property
    def recorder(self) -> Recorder: ...

    @property
    def object_watches(self) -> WatchLimit: ...
