"""`vk-provider run`: the provider itself."""

from __future__ import annotations

import logging

import click

from vk_provider import app, telemetry
from vk_provider.cli.parent import Parent, execute, explained, pass_parent
from vk_provider.config import Settings
from vk_provider.telemetry import LogFormat


@click.command(short_help="Serve the members.")
@click.option(
    "--log-format",
    type=click.Choice([format.value for format in LogFormat]),
    default=LogFormat.TEXT.value,
    help="key=value text, or JSON. Default: text.",
)
@pass_parent
def run(parent: Parent, log_format: str) -> None:
    """Serve the members: be the kubelet of every virtual node, until SIGTERM or Ctrl-C."""
    telemetry.setup(LogFormat(log_format), level=logging.INFO, verbose=parent.verbose)
    credentials = parent.credentials()
    with explained(credentials):
        execute(app.run(credentials, Settings()), long_running=True)
