"""Lines of the Prometheus text format.

Label values stay escaped from input to output, so that they pass through unchanged.
(https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache


class MalformedError(Exception):
    """The answer of a member node is not that of a kubelet."""


def escape(value: str) -> str:
    """A label value in the form that is written between quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def written(labels: Mapping[str, str]) -> str:
    """Labels of a sample with their braces; empty if there are none. Values are escaped already."""
    return "{" + ",".join([f'{name}="{value}"' for name, value in labels.items()]) + "}" if labels else ""


def number(value: float) -> str:
    """The text of a value; whole numbers have no fraction."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def parse_sample(line: str) -> tuple[str, dict[str, str], float, int | None]:
    """Name, labels (values escaped), value and timestamp (ms) of a sample.

    Raises MalformedError, also for numbers that only Python accepts: because of one such line, Go's parsers would
    reject the whole text.
    """
    labels: dict[str, str] = {}
    brace = line.find("{")
    if brace < 0:
        name, _, rest = line.partition(" ")
    else:
        end = line.rfind("}")
        name, rest = line[:brace].rstrip(), line[end + 1 :]
        labels = _labels(line[brace + 1 : end]) if end > brace else {"": ""}
    numbers = rest.split()
    try:
        if not (_is_name(name) and 1 <= len(numbers) <= 2 and rest.isascii() and rest.isprintable()) or "" in labels:
            raise ValueError
        return name, labels, _float(numbers[0]), _int64(numbers[1]) if len(numbers) == 2 else None
    except ValueError as error:
        raise MalformedError(f"not a sample: {line[:100]!r}") from error


def _float(text: str) -> float:
    value = float(text)
    if "_" in text or (math.isinf(value) and not text[-1].isalpha()):  # 1_000 and 1e999
        raise ValueError(text)
    return value


def _int64(text: str) -> int:
    value = int(text)
    if "_" in text or not -(2**63) <= value < 2**63:
        raise ValueError(text)
    return value


def _labels(text: str) -> dict[str, str]:
    """Label -> value, still escaped. A label with name "" marks text that is not a list of labels."""
    parts = text.split('"')
    if "\\" in text:
        parts = _rejoined(parts)
    if len(parts) % 2 == 0 or parts.pop().strip(" ,"):
        return {"": ""}
    return {_label_name(before): value for before, value in zip(parts[::2], parts[1::2], strict=True)}


def _rejoined(parts: list[str]) -> list[str]:
    """The parts of a text that was split at quotes, joined again at escaped quotes within a value."""
    joined: list[str] = []
    for part in parts:
        is_value = joined and len(joined) % 2 == 0
        if is_value and (len(joined[-1]) - len(joined[-1].rstrip("\\"))) % 2:
            joined[-1] += '"' + part
        else:
            joined.append(part)
    return joined


@lru_cache(maxsize=1024)
def _label_name(before: str) -> str:
    """The name in the text before a value: `name=`, after a comma unless it is the first."""
    name, equals, more = before.strip(" ,").partition("=")
    name = name.rstrip()
    return name if equals and not more and name.isascii() and name.isidentifier() else ""


@lru_cache(maxsize=4096)
def _is_name(text: str) -> bool:
    return text.isascii() and text.replace(":", "_").isidentifier()
