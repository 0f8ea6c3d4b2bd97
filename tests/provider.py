"""The provider as users run it, in its own process, with its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CHECKOUT: Final = Path(__file__).resolve().parents[1]


class Provider:
    """`vk-provider run` for one parent. It can be restarted. The log continues."""

    def __init__(self, kubeconfig: Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: variables in addition to those of the tests."""
        self._kubeconfig, self.log_file = kubeconfig, log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._signalled = False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def crashed(self) -> bool:
        """Whether it exited by itself."""
        return self._process is not None and self._process.poll() is not None and not self._signalled

    @property
    def resident(self) -> float:
        """Memory in MiB; 0 if it does not run."""
        if self._process is None or not self.running:
            return 0.0
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), "0")
        return int(found) / 1024

    @property
    def log(self) -> str:
        """The complete log, of all starts."""
        return self.log_file.read_text(errors="replace")

    def start(self) -> None:
        """Starts the process unless it runs."""
        if self.running:
            return
        command = [sys.executable, "-m", "vk_provider", "--kubeconfig", str(self._kubeconfig), "-v", "run"]
        self._signalled = False
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=_CHECKOUT, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def stop(self) -> int:
        """Sends SIGTERM. Returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._end(signal.SIGKILL)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The process is suspended within the block, without a signal that it could handle."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def wait(self) -> int:
        """Waits until the process exits by itself. Returns the exit code."""
        assert self._process is not None
        return self._process.wait(timeout=30)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._signalled = True
            self._process.send_signal(number)
        try:
            return self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
            raise
