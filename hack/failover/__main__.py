"""`python -m failover`: runs all measurements, prints a table on stderr and optionally writes JSON."""

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
from failover.results import Results

_REPLICAS = 6


@click.command()
@click.option(
    "--runs", "times", type=click.IntRange(1), default=5, show_default=True, help="Runs of each time measurement."
)
@click.option(
    "--pods", type=click.IntRange(1), default=500, show_default=True, help="Pods in the measurement with many pods."
)
@click.option("--fake", is_flag=True, help="Use only fake nodes, without containers. Only the cut requires root.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to this file.")
def main(times: int, pods: int, fake: bool, file: Path | None) -> None:
    """Measure failover between two members. The exit code is 1 if a result misses its budget."""
    console, results = Console(stderr=True, highlight=False), Results()

    def found(key: str, value: float) -> None:
        console.print(f"{key}: {value:.1f}")
        results.add(key, value)

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
        console.print(results.table())
        if file is not None:
            file.write_text(json.dumps(results.as_json(), indent=2) + "\n")
    sys.exit(0 if all(row["kept"] for row in results.as_json()) else 1)


@contextmanager
def _clusters(*, real: bool) -> Iterator[tuple[World, Path]]:
    """A parent with two served members. They are removed at the end, also after an error."""
    with tempfile.TemporaryDirectory(prefix="vk-failover-") as directory:
        root = Path(directory)
        with served(root, real=real) as world:
            yield world, root


@contextmanager
def _plain(pods: int) -> Iterator[World]:
    """A cluster with two fake nodes, each large enough for all pods."""
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
