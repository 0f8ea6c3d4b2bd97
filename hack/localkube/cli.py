"""The command line: `hack/localkube/localkube --help`. No logic of its own but how things are shown."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from . import clusters
from .errors import LocalkubeError
from .progress import on_stderr

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Real Kubernetes clusters on this machine, without Docker.

    State is kept in .localkube of this checkout; the environment variable LOCALKUBE_STATE names another directory.
    """


@cli.command()
@click.argument("specs", nargs=-1, required=True, metavar="NAME[:KIND]...")
@click.option("--audit", is_flag=True, help="Let the API servers write audit logs.")
@_json_option
def up(specs: tuple[str, ...], audit: bool, as_json: bool) -> None:
    """Start clusters side by side, and wait until they can be used.

    \b
    NAME                      a control plane without nodes
    NAME:real[=NODES]         containerd and kubelets: containers run (needs root)
    NAME:fake[=NODES][,cpu=32][,memory=128Gi][,pods=250]
                              nodes that kwok plays, of this size each
    NAME:KIND,metrics         and metrics-server, for `kubectl top` (KIND may be none)

    What is up already stays as it is; what is half up is completed.
    """
    with on_stderr() as progress:
        made = clusters.up(specs, audit=audit, progress=progress)
    if as_json:
        click.echo(json.dumps({name: _plain(info) for name, info in made.items()}, indent=1))
        return
    table = Table("name", "kind", "nodes", "API address", "kubeconfig")
    for info in made.values():
        table.add_row(info.name, info.kind, str(info.nodes), info.server, str(info.kubeconfig))
    _print(table)


@cli.command()
def fetch() -> None:
    """Download or build all that clusters need, without starting one; `up` does so by itself."""
    with on_stderr() as progress:
        clusters.fetch(progress)


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def down(names: tuple[str, ...]) -> None:
    """Remove clusters and everything of theirs: those named, or all."""
    with on_stderr() as progress:
        gone = clusters.down(names, progress=progress)
    for name in names or ([] if gone else ["(no cluster)"]):
        if name not in gone:
            click.echo(f"{name}: nothing of it is up", err=True)


@cli.command()
@_json_option
def status(as_json: bool) -> None:
    """Show the clusters and which of their services run."""
    found = clusters.status()
    if as_json:
        click.echo(json.dumps({one.info.name: _plain(one) for one in found}, indent=1))
        return
    table = Table("name", "kind", "nodes", "API address", "state", "services")
    for one in found:
        state = "cut" if one.cut else "up" if one.complete and all(one.services.values()) else "incomplete"
        services = ", ".join(name if runs else f"[red]{name} (stopped)[/]" for name, runs in one.services.items())
        table.add_row(one.info.name, one.info.kind, str(one.info.nodes), one.info.server, state, services)
    _print(table)


@cli.command()
@click.argument("name")
def kubeconfig(name: str) -> None:
    """Print the path of a cluster's kubeconfig."""
    click.echo(clusters.info(name).kubeconfig)


@cli.command()
@click.argument("name")
def cut(name: str) -> None:
    """Cut a cluster's network link: packets vanish without an answer."""
    clusters.cut(name)


@cli.command()
@click.argument("name")
def heal(name: str) -> None:
    """Put a cut link together again."""
    clusters.heal(name)


@cli.command()
@click.argument("name")
@click.argument("to")
def route(name: str, to: str) -> None:
    """Let a cluster reach the pods of the cluster TO by their addresses."""
    clusters.route(name, to)


@cli.command()
@click.argument("name")
@click.argument("service")
def stop(name: str, service: str) -> None:
    """Kill one SERVICE of a cluster (SIGKILL): etcd, apiserver, scheduler, kubelet ..."""
    clusters.stop(name, service)


@cli.command()
@click.argument("name")
@click.argument("service")
def start(name: str, service: str) -> None:
    """Start a killed SERVICE again, with the same arguments."""
    clusters.start(name, service)


def main() -> None:
    """Runs the command; what the user can put right is one line and status 1."""
    try:
        cli.main(standalone_mode=False)
    except click.Abort:
        _interrupted()
    except KeyboardInterrupt:
        _interrupted()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LocalkubeError as error:
        click.echo(f"localkube: {error}", err=True)
        sys.exit(1)


def _interrupted() -> None:
    """Leaves at once: threads that wait for clusters have nothing to clean up that `down` would not find."""
    click.echo("localkube: interrupted; finish with the same command again, or: localkube down", err=True)
    sys.stderr.flush()
    os._exit(130)


def _plain(value: Any) -> Any:
    """A dataclass as what JSON knows."""
    return json.loads(json.dumps(dataclasses.asdict(value), default=str))


def _print(table: Table) -> None:
    """In full where nobody looks at the width of the screen."""
    console = Console() if sys.stdout.isatty() else Console(width=240)
    console.print(table)
