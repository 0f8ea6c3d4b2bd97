"""Values that people write on the command line, checked before anything is asked of a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import click

from vk_provider.translate import quantity

_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NODE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_PREFIX: Final = re.compile(r"[a-z0-9][-a-z0-9]{0,39}")
_WORD: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class Checked(click.ParamType[Any]):
    """A parameter type out of a function that raises ValueError with what is wrong."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


def _name(pattern: re.Pattern[str], rule: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(rule)
        return text

    return check


def _key(text: str) -> str:
    """A qualified name: NAME or DOMAIN/NAME."""
    domain, slash, name = text.rpartition("/")
    if not _WORD.fullmatch(name) or (slash and not _DOMAIN.fullmatch(domain)):
        raise ValueError(f"the key {text!r} is not of the form NAME or DOMAIN/NAME")
    return text


def _value(text: str) -> str:
    if text and not _WORD.fullmatch(text):
        raise ValueError(f"the value {text!r} may have at most 63 of letters, digits, '-', '_' and '.'")
    return text


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError("a label is written key=value")
    return _key(key), _value(value)


def _taint(text: str) -> dict[str, str]:
    head, colon, effect = text.rpartition(":")
    if not colon or effect not in _EFFECTS:
        raise ValueError(f"a taint is written key=value:Effect or key:Effect, the effect one of {', '.join(_EFFECTS)}")
    key, _, value = head.partition("=")
    return {"key": _key(key), "effect": effect} | ({"value": _value(value)} if value else {})


def _resource(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError("a capacity is written resource=quantity, such as cpu=64 or memory=256Gi")
    if quantity.parse(value) < 0:
        raise ValueError("a capacity cannot be negative")
    return _key(key), value


DNS_LABEL: Final = Checked("name", _name(_DNS_LABEL, "up to 63 of a-z, 0-9 and '-', a letter or digit at both ends"))
NODE_NAME: Final = Checked(
    "name", _name(_NODE_NAME, "up to 63 of a-z, 0-9, '-' and '.', a letter or digit at both ends")
)
PREFIX: Final = Checked("prefix", _name(_PREFIX, "up to 40 of a-z, 0-9 and '-', a letter or digit first"))
LABEL: Final = Checked("key=value", _label)
TAINT: Final = Checked("key=value:Effect", _taint)
CAPACITY: Final = Checked("resource=quantity", _resource)


def unique(pairs: Iterable[tuple[str, str]], option: str) -> dict[str, str]:
    """A dict of pairs; a key that is given twice is a mistake."""
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            raise click.BadParameter(f"{key} is given twice", param_hint=f"'{option}'")
        found[key] = value
    return found
