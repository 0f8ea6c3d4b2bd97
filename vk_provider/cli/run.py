"""`vk-provider run`: the provider itself."""

from __future__ import annotations

import ipaddress
import logging

import click

from vk_provider import app, telemetry
from vk_provider.cli.parent import Parent, execute, explained, pass_parent
from vk_provider.config import Settings
from vk_provider.telemetry import LogFormat


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value:
        try:
            ipaddress.ip_address(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not an IP address") from error
    return value


@click.command(short_help="Serve the members.")
@click.option(
    "--log-format",
    type=click.Choice([format.value for format in LogFormat]),
    default=LogFormat.TEXT.value,
    help="key=value text, or JSON. Default: text.",
)
@click.option(
    "--kubelet-address",
    default="",
    metavar="IP",
    callback=_address,
    help="Address of the kubelet API; the parent's API server must reach it. Default: that which reaches the parent.",
)
@pass_parent
def run(parent: Parent, log_format: str, kubelet_address: str) -> None:
    """Serve the members: act as the kubelet of every virtual node, until SIGTERM or Ctrl-C."""
    telemetry.setup(LogFormat(log_format), level=logging.INFO, verbose=parent.verbose)
    credentials = parent.credentials()
    with explained(credentials):
        execute(app.run(credentials, Settings(kubelet_address=kubelet_address)), long_running=True)
