"""Output: colour and progress on a terminal, plain and whole lines if it is piped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from fractions import Fraction
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.status import Status
from rich.text import Text

_SPINNER_AFTER: Final = 1.0  # seconds
ANY_LENGTH: Final = 10_000  # columns: lines are not wrapped


def stdout(columns: int = 0) -> Console:
    """For tables, which are at least that wide: a terminal breaks lines that are too long for it, as with kubectl.

    If stdout is not a terminal, lines have any length.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal and console.width >= columns:
        return console
    width = columns if console.is_terminal else ANY_LENGTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def say(text: str) -> None:
    """Writes a line of the command's result to stdout."""
    click.echo(text)


def note(text: str) -> None:
    """Writes a line that is not part of the result to stderr."""
    click.echo(text, err=True)


class Progress:
    """What the command is waiting for: a spinner on a terminal, else one line per change."""

    def __init__(self, status: Status | None) -> None:
        self._status, self._shown = status, ""

    def update(self, text: str) -> None:
        """Replaces the text."""
        if self._status is not None:
            self._status.update(Text(text))
        elif text != self._shown:
            note(text)
        self._shown = text


@contextmanager
def progress(text: str) -> Iterator[Progress]:
    """Shows a text on stderr if the block takes more than a second. Needs a running event loop."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield Progress(None)
        return
    status = Status(Text(text), console=console)
    timer = asyncio.get_running_loop().call_later(_SPINNER_AFTER, status.start)
    try:
        yield Progress(status)
    finally:
        timer.cancel()
        status.stop()


@contextmanager
def bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows on stderr how many of `total` are done: call the yielded function with each new number.

    If stderr is not a terminal, the text is written once.
    """
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        note(text)
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with RichProgress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(text, total=total)
        yield lambda done: shown.update(task, completed=done)


def age(since: str | None, now: datetime) -> str:
    """Time since an RFC 3339 instant, in its largest unit: 45s, 12m, 5h, 3d, 2y."""
    if not since:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    for unit, size in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size or (unit == "m" and seconds >= 60):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def amount(value: Fraction) -> str:
    """A number with at most one decimal, from 100 on with none. Rounded down: it must not promise room."""
    if value >= 100 or value.denominator == 1:
        return str(int(value))
    return f"{int(value * 10) / 10:g}"


def memory(value: Fraction) -> str:
    """Bytes in the largest binary unit in which the number is at least 1."""
    for suffix, size in (("Ti", 1024**4), ("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if value >= size:
            return amount(value / size) + suffix
    return amount(value)


def listed(names: Iterable[str]) -> str:
    """Names for a message, sorted."""
    return ", ".join(sorted(names)) or "none"
