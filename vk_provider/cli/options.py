"""Values of command-line options, validated before a command contacts any cluster.

Each function is a click parameter type and raises BadParameter, to which click adds the name of the option. Exceptions:
`unique`, and `timeout` and `translation`, which are options of several commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import click

from vk_provider.api.membercluster import ApiAccess
from vk_provider.translate import quantity

_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NODE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_PREFIX: Final = re.compile(r"[a-z0-9][-a-z0-9]{0,39}")
_WORD: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def dns_label(text: str) -> str:
    """The name of a member."""
    return _matching(_DNS_LABEL, text, "up to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit")


def node_name(text: str) -> str:
    """The name of a virtual node, as the CRD allows it."""
    return _matching(_NODE_NAME, text, "up to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit")


def namespace_prefix(text: str) -> str:
    """The prefix of the names of namespaces in the member."""
    return _matching(_PREFIX, text, "up to 40 of a-z, 0-9 and '-', beginning with a letter or digit")


def label(text: str) -> tuple[str, str]:
    """key=value."""
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r}: a label has the form key=value")
    return _key(key), _value(value)


def taint(text: str) -> dict[str, str]:
    """key=value:Effect or key:Effect, as a taint of the CRD."""
    head, colon, effect = text.rpartition(":")
    if not colon or effect not in _EFFECTS:
        raise click.BadParameter(
            f"{text!r}: a taint has the form key=value:Effect or key:Effect; effects are {', '.join(_EFFECTS)}"
        )
    key, _, value = head.partition("=")
    return {"key": _key(key), "effect": effect} | ({"value": _value(value)} if value else {})


def capacity(text: str) -> tuple[str, str]:
    """resource=quantity."""
    key, _, value = text.partition("=")
    try:
        valid = quantity.parse(value) >= 0
    except ValueError:
        valid = False
    if not valid:
        raise click.BadParameter(f"{text!r}: a capacity has the form resource=quantity, such as cpu=64 or memory=256Gi")
    return _key(key), value


def _matching(pattern: re.Pattern[str], text: str, rule: str) -> str:
    if not pattern.fullmatch(text):
        raise click.BadParameter(f"{text!r}: {rule}")
    return text


def _key(text: str) -> str:
    """A qualified name: NAME or DOMAIN/NAME."""
    domain, slash, name = text.rpartition("/")
    if not _WORD.fullmatch(name) or (slash and not _DOMAIN.fullmatch(domain)):
        raise click.BadParameter(f"the key {text!r} does not have the form NAME or DOMAIN/NAME")
    return text


def _value(text: str) -> str:
    if text and not _WORD.fullmatch(text):
        raise click.BadParameter(f"the value {text!r} must be up to 63 letters, digits, '-', '_' and '.'")
    return text


def unique(pairs: Iterable[tuple[str, str]], option: str) -> dict[str, str]:
    """A dict of pairs. Raises BadParameter if a key occurs twice."""
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            raise click.BadParameter(f"{key} is given twice", param_hint=f"'{option}'")
        found[key] = value
    return found


def timeout(seconds: int, what: str) -> Callable[[CommandT], CommandT]:
    """The option `timeout`, in seconds."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=float(seconds),
        metavar="SECONDS",
        help=f"{what} Default: {seconds}.",
    )


def translation(command: CommandT) -> CommandT:
    """The options for the fields of a MemberCluster that translation depends on.

    They are `node_name`, `namespace_prefix` and `api_access`, each None if it is not given.
    """
    for option in (
        click.option(
            "--api-access",
            type=click.Choice([access.value for access in ApiAccess]),
            help=f"The API server that the pods' service accounts are for (default: {ApiAccess.PARENT.value}).",
        ),
        click.option(
            "--namespace-prefix",
            metavar="PREFIX",
            type=namespace_prefix,
            help="Prefix for the names of namespaces in the member.",
        ),
        click.option(
            "--node-name",
            metavar="NAME",
            type=node_name,
            help="Name of the virtual node (default: that of the member).",
        ),
    ):
        command = option(command)
    return command
