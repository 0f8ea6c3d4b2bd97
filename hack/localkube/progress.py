"""The progress of starting clusters: a live line per subject on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Progress(Protocol):
    """Receives progress; safe to call from several threads. A subject is `binaries`, `images` or a cluster's name."""

    def step(self, subject: str, text: str) -> None:
        """The subject begins a step that may take a while."""
        ...

    def done(self, subject: str, text: str) -> None:
        """The subject is complete."""
        ...


class Silent:
    """Shows nothing."""

    def step(self, subject: str, text: str) -> None:
        pass

    def done(self, subject: str, text: str) -> None:
        pass


class Lines:
    """Prints a line per step, with the seconds since the start. For logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._begin = stream, time.monotonic()

    def step(self, subject: str, text: str) -> None:
        print(f"{time.monotonic() - self._begin:6.1f} s  {subject}: {text}", file=self._stream, flush=True)

    done = step


class Live:
    """Shows a spinner and a clock per subject."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def step(self, subject: str, text: str) -> None:
        self._update(subject, text, 0)

    def done(self, subject: str, text: str) -> None:
        self._update(subject, text, 1)

    def _update(self, subject: str, text: str, completed: int) -> None:
        with self._lock:
            if subject not in self._tasks:
                self._tasks[subject] = self._bars.add_task(subject, total=1, what=text)
            self._bars.update(self._tasks[subject], what=text, completed=completed)


@contextmanager
def on_stderr() -> Iterator[Progress]:
    """Shows progress on stderr until the block ends; stdout stays free for results."""
    if not sys.stderr.isatty():
        yield Lines(sys.stderr)
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("[bold]{task.description}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield Live(bars)
