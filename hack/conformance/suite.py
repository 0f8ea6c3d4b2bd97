"""Runs the tests of Kubernetes on one cluster, and reads their outcomes.

`e2e.test` is the official binary of all tests, built from the source that go.mod pins; `ginkgo` runs them in parallel
processes. Tests with the label [Serial] disturb others, so they run last, one at a time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Part of a test's name -> why it cannot pass on this machine, on any node.
SKIPPED: Final = {
    "1.17 Sample API Server": "localkube does not build its image, sample-apiserver",
    "ImageVolume should succeed with pod": "containerd of Debian 12 has no image volumes",
    "read only busybox container should not write": "it expects an error message of ash; localkube's /bin/sh is bash",
}
# Label filters of ginkgo, and the number of processes (None: as requested).
_PASSES: Final = (("Conformance && !Serial", None), ("Conformance && Serial", 1))
_REPORT: Final = "report.json"
_TIMEOUT: Final = "6h"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one test. `state` is as in ginkgo's report: passed, failed, timedout, panicked, interrupted ..."""

    name: str
    state: str
    seconds: float
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.state == "passed"

    @property
    def sig(self) -> str:
        """The group of Kubernetes that owns the test, such as sig-node."""
        found = re.search(r"\[(sig-[a-z-]+)\]", self.name)
        return found[1] if found else ""


def run(programs: dict[str, Path], kubeconfig: Path, directory: Path, focus: str, processes: int) -> list[Outcome]:
    """Runs all conformance tests whose name matches `focus`, a regular expression. Writes logs to `directory`."""
    outcomes: list[Outcome] = []
    for labels, limit in _PASSES:
        output = directory / ("serial" if limit else "parallel")
        output.mkdir(parents=True, exist_ok=True)
        _ginkgo(programs, kubeconfig, output, labels, focus, limit or processes)
        outcomes += outcomes_of(json.loads((output / _REPORT).read_bytes()))
    return outcomes


def outcomes_of(report: list[dict[str, Any]]) -> list[Outcome]:
    """The outcomes of all tests that ran, from a JSON report of ginkgo."""
    return [
        Outcome(
            name=" ".join([*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]]),
            state=spec["State"],
            seconds=spec["RunTime"] / 1e9,
            message=spec.get("Failure", {}).get("Message", ""),
        )
        for suite in report
        for spec in suite["SpecReports"] or ()
        if spec["LeafNodeType"] == "It" and spec["State"] not in ("skipped", "pending")
    ]


def _ginkgo(programs: dict[str, Path], kubeconfig: Path, output: Path, labels: str, focus: str, processes: int) -> None:
    """Runs the tests. The report contains the failed ones, so the exit code is not checked."""
    command: list[str | Path] = [
        programs["ginkgo"],
        "--no-color",
        "--silence-skips",
        f"--procs={processes}",
        f"--label-filter={labels}",
        f"--focus={focus}",
        *(f"--skip={re.escape(part)}" for part in SKIPPED),
        f"--timeout={_TIMEOUT}",
        f"--output-dir={output}",
        f"--json-report={_REPORT}",
        programs["e2e.test"],
        "--",
        f"--kubeconfig={kubeconfig}",
        "--provider=skeleton",
    ]
    # Tests of kubectl run the kubectl in PATH.
    environment = {**os.environ, "PATH": f"{programs['kubectl'].parent}:{os.environ['PATH']}"}
    with (output / "log").open("wb") as log:
        subprocess.run(command, cwd=output, env=environment, stdout=log, stderr=log, check=False)
