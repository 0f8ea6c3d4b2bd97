"""`make demo`: exit code 0 if all checks succeeded, 1 if one failed, 2 for wrong usage."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import click
import localkube

from demo.scenes import SCENES
from demo.screen import Screen
from demo.world import ExpectationError, LocalkubeError, World, bring_up


@dataclass(frozen=True)
class Result:
    """The result of one scene. `seen` is the observation, or the error if a check failed."""

    scene: str
    held: bool
    seconds: float
    seen: str


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout.")
@click.option("--keep", is_flag=True, help="Leave the clusters and the provider running, and print how to use them.")
@click.option("--fake", is_flag=True, help="Use fake nodes: no containers, works without root.")
def main(as_json: bool, keep: bool, fake: bool) -> None:
    """Start a parent and two member clusters on this machine, and use them as one with plain kubectl."""
    screen = Screen()
    real = not fake and os.geteuid() == 0
    if not real and not fake:
        screen.note("not root: the members have fake nodes, so pods become Running without containers")
    started = time.monotonic()
    results: list[Result] = []
    world: World | None = None
    failure = ""
    try:
        with localkube.on_stderr() as progress:
            world = bring_up(real=real, progress=progress)
        results = _play(world, screen)
        failure = next((result.seen for result in results if not result.held), "")
    except (LocalkubeError, ExpectationError) as error:
        failure = str(error)
        screen.failed(failure)
    except KeyboardInterrupt:
        failure = "interrupted"
    finally:
        if not (keep and world):
            _clean_up(world, screen)
    if results:
        screen.summary([(result.scene, result.held, result.seconds) for result in results])
    if keep and world:
        _how_to_use(world, screen)
    if as_json:
        print(json.dumps(_summary(results, failure, real, time.monotonic() - started), indent=2))
    sys.exit(1 if failure else 0)


def _play(world: World, screen: Screen) -> list[Result]:
    world.show = screen.command
    for member in world.members:
        world.join(member)
    world.start_provider()
    screen.command(["vk-provider", "run", "&"], "")
    world.until("both virtual nodes are Ready", world.ready)
    results = []
    for number, scene in enumerate(SCENES, start=1):
        screen.scene(number, scene)
        started = time.monotonic()
        try:
            seen, held = scene.play(world), True
            screen.held(seen)
        except ExpectationError as error:
            seen, held = str(error), False
            screen.failed(seen)
        results.append(Result(scene.title, held, round(time.monotonic() - started, 1), seen))
        if not held:
            break  # later scenes use the objects of this one
    return results


def _clean_up(world: World | None, screen: Screen) -> None:
    if world is not None:
        world.stop_provider()
    localkube.down(["parent", "alpha", "beta"])
    screen.note("the clusters and the provider are stopped and removed (--keep leaves them running)")


def _how_to_use(world: World, screen: Screen) -> None:
    pid = world.provider.pid if world.provider else 0
    screen.console.print()
    screen.console.print(f"export KUBECONFIG={world.parent}", style="bold", soft_wrap=True)
    screen.console.print(f"export PATH={world.kubectl_path.parent}:$PATH", style="bold", soft_wrap=True)
    screen.console.print("kubectl get nodes", style="bold")
    screen.console.print("vk-provider unjoin alpha", style="bold")  # ends its membership
    screen.console.print("vk-provider fence beta --confirmed-down", style="bold")  # after `localkube cut beta`
    screen.note(f"the provider is process {pid}; its log is {world.log}")
    screen.note(f"to stop everything: kill {pid}; hack/localkube/localkube down")


def _summary(results: list[Result], failure: str, real: bool, seconds: float) -> dict[str, Any]:
    return {
        "ok": not failure,
        "failure": failure,
        "nodes": "real" if real else "fake",
        "seconds": round(seconds, 1),
        "scenes": [asdict(result) for result in results],
    }


if __name__ == "__main__":
    main()
