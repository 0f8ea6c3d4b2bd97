"""`python -m failover`: the measurements one after the other, a table on stderr and JSON where it is asked for."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import localkube
from demo.world import ExpectationError, World, served
from rich.console import Console

from failover import runs
from failover.figures import Figures

_REPLICAS = 6


@click.command()
@click.option("--runs", "times", type=click.IntRange(1), default=5, help="how often each time is taken (default: 5)")
@click.option("--pods", type=click.IntRange(1), default=500, help="of the measurement with many pods (default: 500)")
@click.option(
    "--fake", is_flag=True, help="fake nodes throughout: without containers, and without root but for the cut"
)
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="also write the figures there")
def main(times: int, pods: int, fake: bool, file: Path | None) -> None:
    """Measures failover between two members. Ends with 1 where a budget is not kept."""
    console, figures = Console(stderr=True, highlight=False), Figures()

    def found(key: str, value: float) -> None:
        console.print(f"{key}: {value:.1f}")
        figures.add(key, value)

    try:
        with _clusters(real=not fake) as (world, root):
            runs.set_health(world, None)
            runs.repeat(times, lambda: runs.failover(world, root, _REPLICAS), lambda value: found("default", value))
            found("blip", runs.blip(world, root, _REPLICAS))
            runs.set_health(world, runs.FAST)
            runs.repeat(times, lambda: runs.failover(world, root, _REPLICAS), lambda value: found("fast", value))
        with _clusters(real=False) as (world, root):
            runs.set_health(world, runs.FAST)
            found("many", runs.rate(world, root, pods))
        with _plain(pods) as world:
            found("plain", runs.plain_rate(world, pods))
    except (ExpectationError, localkube.LocalkubeError) as error:
        console.print(f"[bold red]{error}", soft_wrap=True)
        sys.exit(1)
    finally:
        console.print(figures.table())
        if file is not None:
            file.write_text(json.dumps(figures.as_json(), indent=2) + "\n")
    sys.exit(0 if all(row["kept"] for row in figures.as_json()) else 1)


@contextmanager
def _clusters(*, real: bool) -> Iterator[tuple[World, Path]]:
    """A parent with two members that are served; removed at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="vk-failover-") as directory:
        root = Path(directory)
        with served(root, real=real) as world:
            yield world, root


@contextmanager
def _plain(pods: int) -> Iterator[World]:
    """A cluster with two fake nodes, of which each holds all the pods."""
    with tempfile.TemporaryDirectory(prefix="vk-failover-") as directory:
        root = Path(directory)
        try:
            with localkube.on_stderr() as progress:
                (made,) = localkube.up([f"plain:fake=2,pods={pods}"], progress=progress, root=root).values()
            kubectl = localkube.program("kubectl", root=root)
            yield World(parent=made.kubeconfig, members={}, kubectl_path=kubectl, real=False, root=root)
        finally:
            localkube.down(root=root)


if __name__ == "__main__":
    main()
