"""Resource quantities (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/), exactly."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_SUFFIX: Final = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    **{letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", start=1)},
}
# A longer exponent exceeds what Kubernetes can represent, and would keep this process busy for a very long time.
_PATTERN: Final = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
_BINARY: Final = tuple((f"{letter}i", 1024**power) for power, letter in reversed([*enumerate("KMGTPE", start=1)]))
_DECIMAL: Final = tuple((letter, 1000**power) for power, letter in reversed([*enumerate("kMGTPE", start=1)]))


def parse(text: str | int | float) -> Fraction:
    """The exact value. Raises ValueError if the text is not a quantity."""
    match = _PATTERN.fullmatch(str(text))
    if match is None:
        raise ValueError(f"not a quantity: {text!r}")
    number, exponent, suffix = match.groups()
    return Fraction(number + (exponent or "")) * _SUFFIX[suffix or ""]


def render(value: Fraction, *, binary: bool = True) -> str:
    """The canonical text, which API servers return unchanged. Rounds up to thousandths.

    `binary`: uses Ki, Mi, ... if they divide the value, as for bytes.
    """
    if value.denominator != 1:
        milli = -(-value * 1000 // 1)
        if milli % 1000:
            return f"{milli}m"
        value = Fraction(milli // 1000)
    number = value.numerator
    for suffix, unit in (_BINARY if binary else ()) + _DECIMAL:
        if number and number % unit == 0:
            return f"{number // unit}{suffix}"
    return str(number)
