"""The parent cluster, as the options of the group name it, and the event loop in which commands talk to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from vk_provider.errors import ConfigError, ForbiddenError, UnauthorizedError, UnreachableError
from vk_provider.kube.auth.credentials import Credentials
from vk_provider.kube.auth.kubeconfig import find_credentials
from vk_provider.kube.client import Client

T = TypeVar("T")


@dataclass(frozen=True)
class Parent:
    """The options of the group. None: as kubectl finds it."""

    kubeconfig: str | None
    context: str | None
    verbose: bool

    def credentials(self) -> Credentials:
        """Raises ConfigError."""
        return find_credentials(self.kubeconfig, self.context)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """A client of the parent. Errors that leave the block are `explained`."""
        credentials = self.credentials()
        async with Client(credentials) as client:
            with explained(credentials):
                yield client


@contextmanager
def explained(credentials: Credentials) -> Iterator[None]:
    """Adds to errors that leave the block that they are about the parent, if the parent cannot be used."""
    try:
        yield
    except UnreachableError as error:
        raise UnreachableError(
            f"parent cluster {error.message}",
            reason=error.reason,
            remedy=error.remedy or "check that it runs, and --kubeconfig and --context",
        ) from error
    except UnauthorizedError as error:
        raise ConfigError(
            f"the parent cluster {credentials.server} does not accept the credential of {credentials.name}:"
            f" {error.message}",
            reason="Unauthorized",
            remedy="renew the credential",
        ) from error
    except ForbiddenError as error:
        raise ConfigError(
            f"the parent cluster {credentials.server} does not permit it to {credentials.name}: {error.message}",
            reason=error.reason,
            remedy="docs/how-to/join.md lists the permissions",
        ) from error


pass_parent = click.make_pass_decorator(Parent)


def execute(coroutine: Coroutine[Any, Any, T], *, long_running: bool = False) -> T:
    """Runs the coroutine of a command; if it is long-running, with uvloop if that is installed."""
    loop_factory = None
    if long_running:
        try:
            import uvloop
        except ImportError:
            pass
        else:
            loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(coroutine)
