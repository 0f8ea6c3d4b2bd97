"""The measurements, their budgets, and whether the results keep them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

from rich.table import Table


@dataclass(frozen=True)
class Row:
    """A measurement. `budget` None: only for comparison. `at_least`: the budget is a lower bound, and the smaller of
    `budget` and the result of row `or_as` applies.
    """

    key: str
    title: str
    unit: str
    budget: float | None = None
    at_least: bool = False
    or_as: str = ""


ROWS: Final = (
    Row("default", "link cut -> all replicas Ready in the other member, defaults, tolerationSeconds 0", "s", 45),
    Row("fast", "the same with the fast profile (probe 0.5 s, lost after 3 s)", "s", 12),
    Row("blip", "pods evicted by a cut of 10 s, defaults", "pods", 0),
    Row("many", "many pods on fake nodes: from the taint to all Ready", "pods/s", 50, at_least=True, or_as="plain"),
    Row("plain", "as many pods between two fake nodes of a plain cluster, tainted by hand", "pods/s"),
)


@dataclass
class Results:
    """All results, by key of the row. The median of a row's runs counts."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, key: str, value: float) -> None:
        self.found.setdefault(key, []).append(value)

    def value(self, key: str) -> float | None:
        return median(self.found[key]) if key in self.found else None

    def budget(self, row: Row) -> float | None:
        limit = self.value(row.or_as)
        return row.budget if row.budget is None or limit is None else min(row.budget, limit)

    def kept(self, row: Row) -> bool:
        value, budget = self.value(row.key), self.budget(row)
        if value is None or budget is None:
            return True
        return value >= budget if row.at_least else value <= budget

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {**asdict(row), "median": self.value(row.key), "runs": self.found[row.key], "kept": self.kept(row)}
            for row in ROWS
            if row.key in self.found
        ]

    def table(self) -> Table:
        table = Table("measurement", "median", "runs", "budget", "", title="failover", title_justify="left")
        for column in (1, 2, 3):
            table.columns[column].justify = "right"
        for row in ROWS:
            if (value := self.value(row.key)) is not None:
                runs = ", ".join(f"{run:.1f}" for run in self.found[row.key])
                mark = "" if row.budget is None else "[green]✔" if self.kept(row) else "[red]✘"
                table.add_row(row.title, f"{value:.1f} {row.unit}", runs, self._bound(row), mark)
        return table

    def _bound(self, row: Row) -> str:
        budget = self.budget(row)
        return "" if budget is None else f"{'at least' if row.at_least else 'at most'} {budget:.3g}"
