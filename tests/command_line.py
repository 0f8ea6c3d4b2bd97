"""`vk-provider` as a user calls it, in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from vk_provider.cli.root import cli


def vk(*args: str) -> Result:
    """How a command ended and what it wrote; an exception that is not meant for users goes on."""
    result = CliRunner().invoke(cli, args, prog_name="vk-provider")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
