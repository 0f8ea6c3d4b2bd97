"""The group `vk-provider`: options that all commands share, and how errors are shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import click

from vk_provider import telemetry
from vk_provider.cli.parent import Parent
from vk_provider.errors import INTERRUPTED, VkError
from vk_provider.telemetry import LogFormat

# Each is the name of a module, which is imported when it is needed: `run` must not spend memory on tables.
_COMMANDS: Final = (
    "confirm",
    "doctor",
    "explain",
    "fence",
    "join",
    "plan-failover",
    "render",
    "run",
    "status",
    "unjoin",
)


class _Failure(click.ClickException):
    """An error that the user can act on: one line, and exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(click.style("error: ", fg="red", bold=True) + self.format_message(), err=True)


class _Group(click.Group):
    """Shows errors that are meant for users as one line. Any other error is a bug, and shows its traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"vk_provider.cli.{module}"), module)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _interruptible():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _interruptible():
            try:
                return super().invoke(ctx)
            except VkError as error:
                raise _Failure(" ".join(str(error).split())) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo(err=True)  # the terminal shows ^C
        raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--kubeconfig", metavar="FILE", help="Kubeconfig of the parent (default: $KUBECONFIG, ~/.kube/config).")
@click.option("--context", metavar="NAME", help="Context of the parent's kubeconfig.")
@click.option("-v", "--verbose", is_flag=True, help="Log in detail.")
@click.version_option(package_name="vk-provider", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, kubeconfig: str | None, context: str | None, verbose: bool) -> None:
    """Many Kubernetes clusters as one: each member cluster is a virtual node of the parent.

    \b
    vk-provider join west --kubeconfig west.yaml    make a cluster a member
    vk-provider run                                 serve the members
    vk-provider status                              show the members
    vk-provider doctor                              find out what is wrong
    vk-provider explain pod/web-1                   show why a pod is where it is
    vk-provider plan-failover west                  show where its pods would go
    vk-provider fence west --confirmed-down         declare that it is down
    vk-provider unjoin west                         end its membership
    vk-provider render -f pod.yaml --member west    show what a pod becomes there
    """
    ctx.obj = Parent(kubeconfig, context, verbose)
    telemetry.setup(LogFormat.TEXT, level=logging.WARNING, verbose=verbose)
