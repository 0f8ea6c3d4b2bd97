"""The output of the demo: a headline per scene, each command with its output, and a mark for the result."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

from demo.scenes import Scene


class Screen:
    """Writes to stderr, so that stdout contains only the output of `--json`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    def scene(self, number: int, scene: Scene) -> None:
        self.console.print()
        self.console.print(Rule(f"[bold]{number}. {escape(scene.title)}", align="left"))

    def command(self, command: Sequence[str], output: str) -> None:
        """Shows the command as it can be pasted into a shell. A last argument `&` is that of the shell."""
        background = command[-1:] == ["&"]
        line = shlex.join(command[:-1] if background else command) + (" &" if background else "")
        self.console.print(f"[bold cyan]$ {escape(line)}", soft_wrap=True)
        if text := output.rstrip():
            self.console.print(escape(text), style="dim", soft_wrap=True)

    def held(self, seen: str) -> None:
        self.console.print(f"[green]✔[/] {escape(seen)}")

    def failed(self, why: str) -> None:
        self.console.print(f"[bold red]✘[/] {escape(why)}", soft_wrap=True)

    def note(self, text: str) -> None:
        self.console.print(f"[yellow]{escape(text)}", soft_wrap=True)

    def summary(self, results: Sequence[tuple[str, bool, float]]) -> None:
        table = Table("", "", "seconds", title="summary", title_justify="left")
        table.columns[2].justify = "right"
        for title, held, seconds in results:
            table.add_row("[green]✔" if held else "[red]✘", escape(title), f"{seconds:.1f}")
        self.console.print()
        self.console.print(table)
