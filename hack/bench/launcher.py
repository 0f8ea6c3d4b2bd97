"""Runs the provider like `vk-provider run`, and can measure stalls of its event loop: `python -m bench.launcher FILE`.

SIGUSR1 starts the measurement, SIGUSR2 ends it and writes FILE. Without the signals, there is no overhead.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from bench.stall import StallWatch
from vk_provider import app, telemetry
from vk_provider.cli.parent import execute
from vk_provider.config import Settings
from vk_provider.kube.auth.credentials import Credentials
from vk_provider.kube.auth.kubeconfig import find_credentials
from vk_provider.telemetry import LogFormat


async def _run(credentials: Credentials, file: Path) -> None:
    watch, loop = StallWatch(file), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, watch.begin)
    loop.add_signal_handler(signal.SIGUSR2, watch.end)
    await app.run(credentials, Settings())


def main() -> None:
    telemetry.setup(LogFormat.TEXT, level=logging.INFO)
    execute(_run(find_credentials(), Path(sys.argv[1])), long_running=True)


if __name__ == "__main__":
    main()
