"""`make conformance`: exit code 0 if every test that passes on the plain cluster passes on the parent, else 1."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import localkube
from demo.world import ExpectationError, LocalkubeError

from conformance import report, suite, worlds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--focus", default="", help="Run only tests whose name matches this regular expression, like sig-node.")
@click.option("--procs", default=3, show_default=True, help="Number of tests that run at the same time.")
@click.option("--members", default=1, show_default=True, help="Number of members of the parent.")
@click.option("--nodes", default=2, show_default=True, help="Number of nodes of the plain cluster, and of each member.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path(".conformance"),
    show_default=True,
    help="Directory for logs and reports.",
)
def main(focus: str, procs: int, members: int, nodes: int, output: Path) -> None:
    """Run the conformance tests of Kubernetes on a plain cluster and on a parent of virtual nodes, and compare."""
    output = output.absolute()
    try:
        with localkube.on_stderr() as progress:
            programs = localkube.suite(progress)
        with worlds.plain(nodes) as kubeconfig:
            programs["kubectl"] = localkube.program("kubectl")
            plain = suite.run(programs, kubeconfig, output / "plain", focus, procs)
        with worlds.parent(nodes, members) as kubeconfig:
            parent = suite.run(programs, kubeconfig, output / "parent", focus, procs)
    except (LocalkubeError, ExpectationError) as error:
        sys.exit(f"conformance: {error}")
    table = report.markdown(plain, parent)
    (output / "report.md").write_text(table)
    print(table)
    passed = {outcome.name for outcome in plain if outcome.passed}
    sys.exit(1 if any(outcome.name in passed and not outcome.passed for outcome in parent) else 0)


if __name__ == "__main__":
    main()
