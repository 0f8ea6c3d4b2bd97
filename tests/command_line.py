"""`vk-provider` as a user calls it, in this process."""

from __future__ import annotations

import asyncio

from click.testing import CliRunner, Result

from vk_provider.cli.root import cli


def vk(*args: str) -> Result:
    """How a command ended and what it wrote; an exception that is not meant for users goes on."""
    _close_idle_loop()
    result = CliRunner().invoke(cli, args, prog_name="vk-provider")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _close_idle_loop() -> None:
    """The plugin looptime makes a loop for each test; a command runs its own, and the other would be left unclosed."""
    try:
        loop = asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        return
    loop.close()
    asyncio.set_event_loop(None)
