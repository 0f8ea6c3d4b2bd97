"""Programs use the official Python client on the parent as on any cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from demo.world import World

from tests.e2e.test_pods import FOREVER, manifest

PROGRAM: Final = Path(__file__).with_name("official_client.py")


def test_a_program_runs_a_pod_executes_a_command_and_reads_the_log(world: World, namespace: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(world.parent), namespace],
        input=manifest("web", f"echo started; {FOREVER}"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"phase": "Running", "output": "42\n", "cluster": "alpha", "log": "started\n"}
