"""What is measured, the budget, and whether it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One figure. `at_least`: the budget is a lower bound."""

    key: str
    title: str
    unit: str
    budget: float
    at_least: bool = False


ROWS: Final = (
    Row("default", "link cut -> every replica Ready in the other member, defaults, tolerationSeconds 0", "s", 45),
    Row("fast", "the same with the fast profile (probe 0.5 s, lost after 3 s)", "s", 12),
    Row("blip", "pods evicted by a cut of 10 s, defaults", "pods", 0),
    Row("many", "many pods on fake nodes: from the first eviction to all Ready", "pods/s", 50, at_least=True),
)


@dataclass
class Figures:
    """All measurements of a row; the median counts."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, key: str, value: float) -> None:
        self.found.setdefault(key, []).append(value)

    def value(self, row: Row) -> float | None:
        return median(self.found[row.key]) if row.key in self.found else None

    def kept(self, row: Row) -> bool:
        value = self.value(row)
        return value is None or (value >= row.budget if row.at_least else value <= row.budget)

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {**asdict(row), "median": self.value(row), "runs": self.found[row.key], "kept": self.kept(row)}
            for row in ROWS
            if row.key in self.found
        ]

    def table(self) -> Table:
        table = Table("what", "median", "runs", "budget", "", title="failover", title_justify="left")
        for column in (1, 2, 3):
            table.columns[column].justify = "right"
        for row in ROWS:
            if (value := self.value(row)) is not None:
                bound = "at least" if row.at_least else "at most"
                runs = ", ".join(f"{one:.1f}" for one in self.found[row.key])
                mark = "[green]✔" if self.kept(row) else "[red]✘"
                table.add_row(row.title, f"{value:.1f} {row.unit}", runs, f"{bound} {row.budget:g}", mark)
        return table
