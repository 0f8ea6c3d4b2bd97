"""The provider as `vk-provider run` starts it, with a watch on its event loop: `python -m bench.launcher FILE`.

SIGUSR1 begins to watch for stalls, SIGUSR2 ends it and writes FILE. Until then, this adds nothing to what is measured.
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
