"""`vk-provider run`: the provider itself."""

from __future__ import annotations

import ipaddress
import logging
import re
from pathlib import Path
from typing import Any, Final

import click

from vk_provider import app, telemetry
from vk_provider.cli.parent import Parent, execute, explained, pass_parent
from vk_provider.config import KUBELET_SERVING, CertificateFiles, KubeletSettings, PortRange, Settings
from vk_provider.errors import ConfigError
from vk_provider.kubelet.certs import FromFiles
from vk_provider.kubelet.ports import check
from vk_provider.telemetry import LogFormat

_SIGNER: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9][-A-Za-z0-9._:]*")
_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value:
        try:
            ipaddress.ip_address(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not an IP address") from error
    return value


def _ports(_context: click.Context, _parameter: click.Parameter, value: str) -> PortRange | None:
    if not value:
        return None
    if not (match := _PORTS.fullmatch(value)):
        raise click.BadParameter(f"{value!r} is not a range of ports such as 10250-10299")
    found = PortRange(int(match[1]), int(match[2] or match[1]))
    if not 1 <= found.first <= found.last <= 65535:
        raise click.BadParameter(f"{value!r} is not a range of ports between 1 and 65535, the lower one first")
    return found


def _signer(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _SIGNER.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not the name of a signer, such as {KUBELET_SERVING}")
    return value


def _settings(
    *,
    kubelet_address: str,
    kubelet_bind: str,
    kubelet_ports: PortRange | None,
    kubelet_signer: str,
    kubelet_cert_file: Path | None,
    kubelet_key_file: Path | None,
) -> KubeletSettings:
    """Raises click.UsageError if the options do not fit together, or do not fit this machine."""
    if kubelet_address and ipaddress.ip_address(kubelet_address).is_unspecified:
        raise click.UsageError(
            f"--kubelet-address {kubelet_address} is not an address to connect to; to listen on all addresses of this "
            f"machine: --kubelet-bind {kubelet_address}"
        )
    files = None
    if kubelet_cert_file and kubelet_key_file:
        files = CertificateFiles(kubelet_cert_file, kubelet_key_file)
    elif kubelet_cert_file or kubelet_key_file:
        raise click.UsageError("--kubelet-cert-file and --kubelet-key-file belong together: give both")
    try:
        if kubelet_bind or kubelet_address:
            check(kubelet_bind or kubelet_address)
        if files:
            FromFiles(files).load()
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    return KubeletSettings(kubelet_address, kubelet_bind, kubelet_ports, kubelet_signer, files)


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
@click.option(
    "--kubelet-bind",
    default="",
    metavar="IP",
    callback=_address,
    help="Address of this machine to listen on, if it is not --kubelet-address (NAT, a load balancer).",
)
@click.option(
    "--kubelet-ports",
    default="",
    metavar="FIRST-LAST",
    callback=_ports,
    help="Ports of the kubelet API; each virtual node needs one, and keeps it. Default: any free port.",
)
@click.option(
    "--kubelet-signer",
    default=KUBELET_SERVING,
    metavar="NAME",
    callback=_signer,
    help=f"Signer of the parent for serving certificates. Default: {KUBELET_SERVING}.",
)
@click.option("--kubelet-cert-file", type=_FILE, help="Serving certificate (PEM) instead of one by request.")
@click.option("--kubelet-key-file", type=_FILE, help="Its private key (PEM). Both are read again when they change.")
@pass_parent
def run(parent: Parent, /, log_format: str, **kubelet: Any) -> None:
    """Serve the members: act as the kubelet of every virtual node, until SIGTERM or Ctrl-C."""
    settings = Settings(kubelet=_settings(**kubelet))
    telemetry.setup(LogFormat(log_format), level=logging.INFO, verbose=parent.verbose)
    credentials = parent.credentials()
    with explained(credentials):
        execute(app.run(credentials, settings), long_running=True)
