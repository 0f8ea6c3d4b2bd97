"""Runs `vk-provider` as a user does, in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from vk_provider.cli.root import cli


def vk(*args: str) -> Result:
    """The exit code and output of a command. Exceptions that are not for users propagate."""
    result = CliRunner().invoke(cli, args, prog_name="vk-provider")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
