"""The command line: `hack/localkube/localkube --help`. It only parses arguments and formats output."""

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

    State is in .localkube of this checkout, or in the directory that the environment variable LOCALKUBE_STATE names.
    """


@cli.command()
@click.argument("specs", nargs=-1, required=True, metavar="NAME[:KIND]...")
@click.option("--audit", is_flag=True, help="Make the API servers write audit logs.")
@_json_option
def up(specs: tuple[str, ...], audit: bool, as_json: bool) -> None:
    """Start clusters in parallel, and wait until they are usable.

    \b
    NAME                      a control plane without nodes
    NAME:real[=NODES]         containerd and kubelets: containers run (needs root)
    NAME:fake[=NODES][,cpu=32][,memory=128Gi][,pods=250]
                              nodes that kwok simulates, each of this size
    NAME:KIND,metrics         with metrics-server, for `kubectl top` (KIND may be none)

    Running clusters stay as they are; partly started clusters are completed.
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
    """Download or build what clusters need; start none. `up` does this too."""
    with on_stderr() as progress:
        clusters.fetch(progress)


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def down(names: tuple[str, ...]) -> None:
    """Remove clusters and their data. Without NAME, all clusters are removed."""
    with on_stderr() as progress:
        removed = clusters.down(names, progress=progress)
    if not names and not removed:
        click.echo("there is no cluster to remove", err=True)
    for name in names:
        if name not in removed:
            click.echo(f"{name}: there is no such cluster", err=True)


@cli.command()
@_json_option
def status(as_json: bool) -> None:
    """Show the clusters, and which of their services run."""
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
    """Cut the network link of a cluster. All packets to and from it are dropped silently."""
    clusters.cut(name)


@cli.command()
@click.argument("name")
def heal(name: str) -> None:
    """Restore a link that was cut."""
    clusters.heal(name)


@cli.command()
@click.argument("name")
@click.argument("to")
def route(name: str, to: str) -> None:
    """Make the pods of TO reachable from NAME by their addresses."""
    clusters.route(name, to)


@cli.command()
@click.argument("name")
@click.argument("service")
def stop(name: str, service: str) -> None:
    """Kill a service of a cluster (SIGKILL). SERVICE is etcd, apiserver, scheduler, kubelet ..."""
    clusters.stop(name, service)


@cli.command()
@click.argument("name")
@click.argument("service")
def start(name: str, service: str) -> None:
    """Start a killed service again, with the same arguments."""
    clusters.start(name, service)


def main() -> None:
    """Runs the command. Prints a LocalkubeError as one line, and exits with status 1."""
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
    """Exits at once, without waiting for threads that start clusters: `down` finds all that they leave behind."""
    click.echo("localkube: interrupted; to finish, run the same command again; to clean up: localkube down", err=True)
    sys.stderr.flush()
    os._exit(130)


def _plain(value: Any) -> Any:
    """A dataclass as JSON types: dicts, lists, strings and numbers."""
    return json.loads(json.dumps(dataclasses.asdict(value), default=str))


def _print(table: Table) -> None:
    """Limits the width only on a terminal, so that pipes get complete lines."""
    console = Console() if sys.stdout.isatty() else Console(width=240)
    console.print(table)
